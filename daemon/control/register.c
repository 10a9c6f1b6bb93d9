#include "daemon/control/register.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mono.h"
#include "base/timetext.h"

enum { RETRY_MAX_S = 3600 };

enum err register_trim_key(const char *key, char *out, size_t cap)
{
        const char *from = key + strspn(key, " \t\r\n");
        size_t len = strlen(from);
        const char *lock = strstr(from, "--TL");
        if (lock != NULL)
                len = (size_t)(lock - from);
        while (len > 0 && strchr(" \t\r\n", from[len - 1]) != NULL)
                len--;
        if (len >= cap)
                return ERR_FULL;
        memcpy(out, from, len);
        out[len] = '\0';
        return ERR_NONE;
}

static void set_str(json_t *o, const char *key, const char *value)
{
        (void)json_object_set_new(o, key, json_string(value));
}

char *register_build(const struct register_request *rq)
{
        char key[KEY_TEXT_MAX];
        char when[TIME_STR_MAX];
        json_t *o = json_object();
        if (o == NULL)
                return NULL;
        (void)json_object_set_new(o, "Version", json_integer((json_int_t)rq->version));
        set_str(o, "NodeKey", node_public_text(&rq->node_key, key));
        if (!node_public_is_zero(&rq->old_node_key))
                set_str(o, "OldNodeKey", node_public_text(&rq->old_node_key, key));
        if (rq->auth_key != NULL && rq->auth_key[0] != '\0')
                (void)json_object_set_new(o, "Auth", json_pack("{s:s}", "AuthKey", rq->auth_key));
        if (rq->expiry_ns != 0)
                set_str(o, "Expiry", time_str(rq->expiry_ns, when));
        if (rq->followup != NULL && rq->followup[0] != '\0')
                set_str(o, "Followup", rq->followup);
        if (rq->ephemeral)
                (void)json_object_set_new(o, "Ephemeral", json_true());
        json_t *hostinfo = json_deep_copy(rq->hostinfo);
        (void)json_object_set_new(o, "Hostinfo", hostinfo != NULL ? hostinfo : json_object());
        char *text = json_dumps(o, JSON_COMPACT);
        json_decref(o);
        return text;
}

/* The server's words, fit for a terminal. */
static void copy_printable(char *out, size_t cap, const char *s)
{
        (void)str_copy(out, cap, s);
        for (char *p = out; *p != '\0'; p++)
                if ((unsigned char)*p < ' ' || *p == 127)
                        *p = '?';
}

static enum register_outcome outcome_of(const json_t *o, const struct register_answer *a)
{
        if (a->error[0] != '\0')
                return REGISTER_ERROR;
        if (json_str(o, "NodeKeySignature", "")[0] != '\0')
                return REGISTER_SIGNATURE;
        if (json_bool(o, "NodeKeyExpired", false))
                return REGISTER_KEY_EXPIRED;
        return a->auth_url[0] != '\0' ? REGISTER_VISIT : REGISTER_OK;
}

enum err register_parse(const char *text, size_t len, struct register_answer *ret)
{
        struct register_answer a = {0};
        json_t *o = json_parse(text, len);
        if (!json_is_object(o)) {
                json_decref(o);
                return ERR_FORMAT;
        }
        const json_t *login = json_obj(o, "Login");
        a.user_id = json_int(json_obj(o, "User"), "ID", 0);
        a.machine_authorized = json_bool(o, "MachineAuthorized", false);
        copy_printable(a.login_name, sizeof(a.login_name), json_str(login, "LoginName", ""));
        copy_printable(a.display_name, sizeof(a.display_name), json_str(login, "DisplayName", ""));
        copy_printable(a.profile_pic_url, sizeof(a.profile_pic_url), json_str(login, "ProfilePicURL", ""));
        copy_printable(a.error, sizeof(a.error), json_str(o, "Error", ""));
        bool fits = str_copy(a.auth_url, sizeof(a.auth_url), json_str(o, "AuthURL", ""));
        a.outcome = outcome_of(o, &a);
        json_decref(o);
        if (!fits)
                return ERR_FORMAT;
        *ret = a;
        return ERR_NONE;
}

enum register_fault register_fault_of(const char *error)
{
        /* In the words of the servers there are; the more special come first. */
        static const struct {
                const char *words;
                enum register_fault fault;
        } FAULTS[] = {
                {"already used", REGISTER_FAULT_KEY_USED},
                {"authkey expired", REGISTER_FAULT_KEY_EXPIRED},
                {"auth key expired", REGISTER_FAULT_KEY_EXPIRED},
                {"revoked", REGISTER_FAULT_KEY_EXPIRED},
                {"requested tags", REGISTER_FAULT_TAGS},
                {"in use by another machine", REGISTER_FAULT_MIXED},
                {"different machine key", REGISTER_FAULT_MIXED},
                {"parse auth-key", REGISTER_FAULT_KEY_BAD},
                {"invalid auth key", REGISTER_FAULT_KEY_BAD},
                {"invalid authkey", REGISTER_FAULT_KEY_BAD},
                {"invalid pre auth key", REGISTER_FAULT_KEY_BAD},
                {"invalid key", REGISTER_FAULT_KEY_BAD},
        };
        for (size_t i = 0; i < sizeof(FAULTS) / sizeof(FAULTS[0]); i++)
                if (strcasestr(error, FAULTS[i].words) != NULL)
                        return FAULTS[i].fault;
        return REGISTER_FAULT_OTHER;
}

int64_t register_retry_ms(const char *retry_after, int64_t wall_ns, uint32_t random)
{
        int64_t seconds = 0;
        char *end;
        long n = strtol(retry_after, &end, 10);
        struct tm tm = {0};
        if (end != retry_after && *end == '\0')
                seconds = n;
        else if (strptime(retry_after, "%a, %d %b %Y %H:%M:%S GMT", &tm) != NULL)
                seconds = (int64_t)timegm(&tm) - wall_ns / NS_PER_SEC;
        if (seconds <= 0 || seconds > RETRY_MAX_S)
                return 5000 + random % 5000;
        return seconds * 1000;
}
