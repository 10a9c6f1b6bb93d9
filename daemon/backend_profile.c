/* Several logins on one machine: which of them is the current one. */
#include "daemon/backend_state.h"

#include <string.h>

#include "base/log.h"

const char backend_busy[] = "a logout is under way: try again in a moment";

enum { SAVE_AGAIN_MS = 30 * 1000 };

void backend_saved(struct backend *b, enum err e)
{
        const char *trouble = profiles_trouble(b->o.profiles);
        if (e == ERR_NONE) {
                loop_timer_stop(&b->save_timer);
                return;
        }
        log_err("%s", trouble[0] != '\0' ? trouble : "the state file cannot be written: out of memory");
        loop_timer_in(b->o.loop, &b->save_timer, SAVE_AGAIN_MS);
}

/* Silent while it fails, as the health of the node says it all the time. */
void backend_on_save_timer(struct timer *t, mono_t now)
{
        (void)now;
        struct backend *b = container_of(t, struct backend, save_timer);
        if (profiles_retry_save(b->o.profiles) == ERR_NONE)
                log_info("the state file is written again");
        else
                loop_timer_in(b->o.loop, &b->save_timer, SAVE_AGAIN_MS);
}

/* Nothing of the login before may stay in use: neither its peers nor its filter, addresses or connection. */
static void leave(struct backend *b)
{
        backend_configure(b, false);
        backend_forget_auth_key(b);
        engine_set_polling(b->engine, false);
        backend_forget_map(b);
        if (backend_renew_control(b) != ERR_NONE)
                log_err("out of memory");
        backend_dns_changed(b);
        backend_set_str(&b->auth_url, "");
        b->login_error[0] = '\0';
        b->login_blocked = b->need_login = b->key_expired = false;
        b->state = IPN_NO_STATE;
}

/* The profile that is current now, as at the start of the daemon. */
static void take_up(struct backend *b)
{
        prefs_done(&b->prefs);
        if (prefs_copy(profiles_prefs(b->o.profiles), &b->prefs) != ERR_NONE)
                log_err("out of memory");
        backend_post_prefs(b);
        backend_run(b, b->engine);
}

void backend_drop_profile(struct backend *b)
{
        leave(b);
        backend_saved(b, profiles_delete_current(b->o.profiles));
        take_up(b);
}

const char *backend_new_profile(struct backend *b)
{
        if (b->logouts != NULL)
                return backend_busy;
        leave(b);
        backend_saved(b, profiles_new(b->o.profiles));
        take_up(b);
        return NULL;
}

const char *backend_switch_profile(struct backend *b, const char *id)
{
        const char *why = "";
        if (b->logouts != NULL)
                return backend_busy;
        if (strcmp(id, profiles_current_id(b->o.profiles)) == 0)
                return NULL;
        enum err e = profiles_switch(b->o.profiles, id, &why);
        if (e == ERR_NOT_FOUND)
                return "profile not found";
        if (e == ERR_FORMAT)
                return why;
        backend_saved(b, e);
        leave(b);
        take_up(b);
        return NULL;
}

const char *backend_delete_profile(struct backend *b, const char *id)
{
        if (b->logouts != NULL)
                return backend_busy;
        if (strcmp(id, profiles_current_id(b->o.profiles)) == 0)
                backend_drop_profile(b);
        else
                backend_saved(b, profiles_delete(b->o.profiles, id));
        return NULL;
}
