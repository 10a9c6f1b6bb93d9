#include "daemon/localapi/prefs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/log.h"
#include "daemon/localapi/prefs_fields.h"

#define AT(member) offsetof(struct prefs, member)

const struct prefs_field prefs_fields[PREFS_FIELDS] = {
        {"ControlURL", F_STR, AT(control_url)},
        {"RouteAll", F_BOOL, AT(route_all)},
        {"ExitNodeID", F_STR, AT(exit_node_id)},
        {"ExitNodeIP", F_IP, AT(exit_node_ip)},
        {"AutoExitNode", F_STR_OMIT, AT(auto_exit_node)},
        {"InternalExitNodePrior", F_STR, AT(internal_exit_node_prior)},
        {"ExitNodeAllowLANAccess", F_BOOL, AT(exit_node_allow_lan)},
        {"CorpDNS", F_BOOL, AT(corp_dns)},
        {"RunSSH", F_BOOL, AT(run_ssh)},
        {"RunWebClient", F_BOOL, AT(run_web_client)},
        {"WantRunning", F_BOOL, AT(want_running)},
        {"LoggedOut", F_BOOL, AT(logged_out)},
        {"ShieldsUp", F_BOOL, AT(shields_up)},
        {"AdvertiseTags", F_STRINGS, AT(advertise_tags)},
        {"Hostname", F_STR, AT(hostname)},
        {"NotepadURLs", F_BOOL, AT(notepad_urls)},
        {"ForceDaemon", F_BOOL_OMIT, AT(force_daemon)},
        {"Egg", F_BOOL_OMIT, AT(egg)},
        {"AdvertiseRoutes", F_ROUTES, 0},
        {"AdvertiseServices", F_STRINGS, AT(advertise_services)},
        {"Sync", F_OPT, AT(sync)},
        {"NoSNAT", F_BOOL, AT(no_snat)},
        {"NoStatefulFiltering", F_OPT_OMIT, AT(no_stateful_filtering)},
        {"NetfilterMode", F_MODE, AT(netfilter_mode)},
        {"OperatorUser", F_STR_OMIT, AT(operator_user)},
        {"ProfileName", F_STR_OMIT, AT(profile_name)},
        {"AutoUpdate", F_UPDATE, 0},
        {"AppConnector", F_CONNECTOR, 0},
        {"PostureChecking", F_BOOL, AT(posture_checking)},
        {"NetfilterKind", F_STR, AT(netfilter_kind)},
        {"HardNATSearch", F_STR_OMIT, AT(hard_nat)},   /* of this program alone */
        {"RemoteConfig", F_BOOL, AT(remote_config)},
        {"DriveShares", F_RAW, 0},
        {"RelayServerPort", F_RAW_OMIT, 0},
        {"RelayServerStaticEndpoints", F_RAW_OMIT, 0},
        {"Config", F_CONFIG, 0},
};

/* ---- life ---- */

/* Ends the process where no error can be returned: an empty string is all it is asked for. */
static char *empty(void)
{
        char *s = strdup("");
        if (s == NULL) {
                log_err("out of memory");
                abort();
        }
        return s;
}

void prefs_strings_free(char **list)
{
        if (list == NULL)
                return;
        for (char **s = list; *s != NULL; s++)
                free(*s);
        free(list);
}

static void free_secret(char *s)
{
        if (s != NULL)
                crypto_wipe(s, strlen(s));
        free(s);
}

static void identity_done(struct prefs_identity *id)
{
        key_wipe(&id->node_key);
        key_wipe(&id->old_node_key);
        free(id->login_name);
        free(id->display_name);
        free(id->profile_pic_url);
        free_secret(id->network_lock_key);
        free(id->node_id);
        json_decref(id->unknown);
        *id = (struct prefs_identity){0};
}

static bool is_string(enum prefs_kind k)
{
        return k == F_STR || k == F_STR_OMIT || k == F_IP;
}

void *prefs_field_at(struct prefs *p, const struct prefs_field *f)
{
        return (char *)p + f->offset;
}

const void *prefs_field_of(const struct prefs *p, const struct prefs_field *f)
{
        return (const char *)p + f->offset;
}

static void zero(struct prefs *p)
{
        *p = (struct prefs){0};
        for (size_t i = 0; i < PREFS_FIELDS; i++)
                if (is_string(prefs_fields[i].kind))
                        *(char **)prefs_field_at(p, &prefs_fields[i]) = empty();
        struct prefs_identity *id = &p->identity;
        char **const strings[] = {&id->login_name, &id->display_name, &id->profile_pic_url, &id->network_lock_key,
                &id->node_id};
        for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
                *strings[i] = empty();
}

void prefs_init(struct prefs *p)
{
        zero(p);
        p->corp_dns = true;
        p->logged_out = true;
        p->no_stateful_filtering = PREFS_TRUE;
        p->netfilter_mode = PREFS_NETFILTER_ON;
        p->auto_update_check = true;
}

void prefs_done(struct prefs *p)
{
        for (size_t i = 0; i < PREFS_FIELDS; i++) {
                const struct prefs_field *f = &prefs_fields[i];
                if (is_string(f->kind))
                        free(*(char **)prefs_field_at(p, f));
                else if (f->kind == F_STRINGS)
                        prefs_strings_free(*(char ***)prefs_field_at(p, f));
        }
        free(p->advertise_routes);
        identity_done(&p->identity);
        json_decref(p->unknown);
        *p = (struct prefs){0};
}

/* ---- copies ---- */

enum err prefs_copy_string(const char *from, char **to)
{
        char *s = strdup(from);
        if (s == NULL)
                return ERR_FULL;
        free_secret(*to);
        *to = s;
        return ERR_NONE;
}

static enum err copy_strings(char *const *from, char ***to)
{
        size_t n = 0;
        while (from != NULL && from[n] != NULL)
                n++;
        char **list = NULL;
        if (n > 0) {
                list = calloc(n + 1, sizeof(*list));
                for (size_t i = 0; list != NULL && i < n; i++) {
                        if ((list[i] = strdup(from[i])) == NULL) {
                                prefs_strings_free(list);
                                list = NULL;
                        }
                }
                if (list == NULL)
                        return ERR_FULL;
        }
        prefs_strings_free(*to);
        *to = list;
        return ERR_NONE;
}

static enum err copy_routes(const struct prefs *from, struct prefs *to)
{
        struct prefix *routes = NULL;
        size_t n = from->advertise_route_count;
        if (n > 0) {
                routes = calloc(n, sizeof(*routes));
                if (routes == NULL)
                        return ERR_FULL;
                memcpy(routes, from->advertise_routes, n * sizeof(*routes));
        }
        free(to->advertise_routes);
        to->advertise_routes = routes;
        to->advertise_route_count = n;
        return ERR_NONE;
}

static enum err copy_identity(const struct prefs_identity *from, struct prefs_identity *to)
{
        struct prefs_identity id = {
                .present = from->present,
                .node_key = from->node_key,
                .old_node_key = from->old_node_key,
                .user_id = from->user_id,
                .login_name = strdup(from->login_name),
                .display_name = strdup(from->display_name),
                .profile_pic_url = strdup(from->profile_pic_url),
                .network_lock_key = strdup(from->network_lock_key),
                .node_id = strdup(from->node_id),
                .unknown = from->unknown != NULL ? json_deep_copy(from->unknown) : NULL,
        };
        bool whole = id.login_name != NULL && id.display_name != NULL && id.profile_pic_url != NULL &&
                id.network_lock_key != NULL && id.node_id != NULL && (from->unknown == NULL || id.unknown != NULL);
        identity_done(whole ? to : &id);
        if (whole)
                *to = id;
        key_wipe(&id.node_key);
        key_wipe(&id.old_node_key);
        return whole ? ERR_NONE : ERR_FULL;
}

static enum err copy_raw(const char *key, const struct prefs *from, struct prefs *to)
{
        json_t *v = json_object_get(from->unknown, key);
        if (v == NULL) {
                (void)json_object_del(to->unknown, key);
                return ERR_NONE;
        }
        if (to->unknown == NULL && (to->unknown = json_object()) == NULL)
                return ERR_FULL;
        return json_object_set_new(to->unknown, key, json_deep_copy(v)) == 0 ? ERR_NONE : ERR_FULL;
}

static enum err copy_field(const struct prefs_field *f, const struct prefs *from, struct prefs *to)
{
        switch (f->kind) {
        case F_STR:
        case F_STR_OMIT:
        case F_IP:
                return prefs_copy_string(*(char *const *)prefs_field_of(from, f), prefs_field_at(to, f));
        case F_BOOL:
        case F_BOOL_OMIT:
                *(bool *)prefs_field_at(to, f) = *(const bool *)prefs_field_of(from, f);
                return ERR_NONE;
        case F_OPT:
        case F_OPT_OMIT:
                *(enum prefs_opt *)prefs_field_at(to, f) = *(const enum prefs_opt *)prefs_field_of(from, f);
                return ERR_NONE;
        case F_MODE:
                *(int *)prefs_field_at(to, f) = *(const int *)prefs_field_of(from, f);
                return ERR_NONE;
        case F_STRINGS:
                return copy_strings(*(char *const *const *)prefs_field_of(from, f), prefs_field_at(to, f));
        case F_ROUTES:
                return copy_routes(from, to);
        case F_UPDATE:
                to->auto_update_check = from->auto_update_check;
                to->auto_update_apply = from->auto_update_apply;
                return ERR_NONE;
        case F_CONNECTOR:
                to->app_connector = from->app_connector;
                return ERR_NONE;
        case F_RAW:
        case F_RAW_OMIT:
                return copy_raw(f->key, from, to);
        case F_CONFIG:
                return copy_identity(&from->identity, &to->identity);
        }
        return ERR_FORMAT;
}

enum err prefs_copy(const struct prefs *p, struct prefs *ret)
{
        struct prefs copy = {0};
        enum err err = ERR_NONE;
        for (size_t i = 0; i < PREFS_FIELDS && err == ERR_NONE; i++)
                err = copy_field(&prefs_fields[i], p, &copy);
        if (err == ERR_NONE && p->unknown != NULL) {
                json_decref(copy.unknown);
                if ((copy.unknown = json_deep_copy(p->unknown)) == NULL)
                        err = ERR_FULL;
        }
        if (err != ERR_NONE)
                prefs_done(&copy);
        else
                *ret = copy;
        return err;
}

const char *prefs_control_url(const struct prefs *p)
{
        return p->control_url[0] != '\0' ? p->control_url : PREFS_DEFAULT_CONTROL_URL;
}

bool prefs_equal(const struct prefs *a, const struct prefs *b)
{
        json_t *ja = prefs_to_json(a, true);
        json_t *jb = prefs_to_json(b, true);
        (void)json_object_del(ja, "Config");
        (void)json_object_del(jb, "Config");
        bool equal = ja != NULL && json_equal(ja, jb) == 1;
        json_decref(ja);
        json_decref(jb);
        return equal;
}

/* ---- what is refused ---- */

static bool advertises_exit_node(const struct prefs *p)
{
        for (size_t i = 0; i < p->advertise_route_count; i++)
                if (p->advertise_routes[i].bits == 0)
                        return true;
        return false;
}

static bool uses_exit_node(const struct prefs *p)
{
        return p->exit_node_id[0] != '\0' || p->exit_node_ip[0] != '\0' || p->auto_exit_node[0] != '\0';
}

static bool is_hard_nat(const char *s)
{
        return s[0] == '\0' || strcmp(s, "on") == 0 || strcmp(s, "off") == 0;
}

const char *prefs_check(const struct prefs *p)
{
        static char why[2 * PREFIX_STR_MAX + 64];
        for (size_t i = 0; i < p->advertise_route_count; i++) {
                struct prefix r = p->advertise_routes[i];
                char is[PREFIX_STR_MAX], should[PREFIX_STR_MAX];
                if (prefix_eq(r, prefix_masked(r)))
                        continue;
                snprintf(why, sizeof(why), "route %s has non-address bits set; expected %s", prefix_str(r, is),
                        prefix_str(prefix_masked(r), should));
                return why;
        }
        if (uses_exit_node(p) && advertises_exit_node(p))
                return "a node cannot use an exit node and advertise itself as one at the same time; "
                       "unset one of the two";
        return NULL;
}

const char *prefs_check_new(const struct prefs *before, const struct prefs *after)
{
        /* What a later program put there stays, and counts as empty. */
        if (!is_hard_nat(after->hard_nat) && strcmp(after->hard_nat, before->hard_nat) != 0)
                return "HardNATSearch must be \"on\", \"off\", or empty for peers that take part; use `tailscale set --hard-nat`";
        if (after->run_ssh && !before->run_ssh)
                return "this daemon has no SSH server; leave --ssh off and use the host's own";
        if (after->run_web_client && !before->run_web_client)
                return "this daemon has no web interface; leave --webclient off";
        if (after->app_connector && !before->app_connector)
                return "this daemon cannot be an app connector; leave --advertise-connector off";
        if (after->posture_checking && !before->posture_checking)
                return "this daemon does not report the device's posture; leave --report-posture off";
        if (after->auto_update_apply == PREFS_TRUE && before->auto_update_apply != PREFS_TRUE)
                return "this daemon does not update itself; leave --auto-update off and use the package manager";
        return prefs_check(after);
}

/* ---- MaskedPrefs ---- */

/* 1: set, 0: not, -1: no boolean. */
static int mask_bit(const json_t *folded, const char *key)
{
        const json_t *v = prefs_member(folded, key, "Set");
        if (v == NULL || json_is_null(v))
                return 0;
        return json_is_boolean(v) ? json_is_true(v) : -1;
}

/* AutoUpdateSet has a bit for each of the two members. */
static enum err apply_update(struct prefs *p, const struct prefs *from, const json_t *folded, const char **ret_why)
{
        json_t *set = prefs_member(folded, "AutoUpdate", "Set");
        if (set == NULL || json_is_null(set))
                return ERR_NONE;
        json_t *bits = prefs_fold(set);
        int check = mask_bit(bits, "Check");
        int apply = mask_bit(bits, "Apply");
        bool object = bits != NULL;
        json_decref(bits);
        if (!object || check < 0 || apply < 0) {
                *ret_why = "AutoUpdateSet must be an object of booleans";
                return ERR_FORMAT;
        }
        if (check)
                p->auto_update_check = from->auto_update_check;
        if (apply)
                p->auto_update_apply = from->auto_update_apply;
        return ERR_NONE;
}

static enum err apply_field(const struct prefs_field *f, struct prefs *p, const struct prefs *from,
        const json_t *folded, const char **ret_why)
{
        static char why[64];
        if (f->kind == F_CONFIG)   /* the identity is not to be edited */
                return ERR_NONE;
        if (f->kind == F_UPDATE)
                return apply_update(p, from, folded, ret_why);
        int bit = mask_bit(folded, f->key);
        if (bit < 0) {
                snprintf(why, sizeof(why), "%sSet must be a boolean", f->key);
                *ret_why = why;
                return ERR_FORMAT;
        }
        if (bit == 0)
                return ERR_NONE;
        if (strncmp(f->key, "Internal", strlen("Internal")) == 0) {
                *ret_why = "fields whose names begin with Internal cannot be set";
                return ERR_PERMISSION;
        }
        *ret_why = "out of memory";
        return copy_field(f, from, p);
}

/* An exit node chosen by hand ends the automatic choice; none at all also forgets the last one. */
static enum err apply_exit_node(struct prefs *p, const json_t *folded, const char **ret_why)
{
        bool id = mask_bit(folded, "ExitNodeID") == 1;
        bool ip = mask_bit(folded, "ExitNodeIP") == 1;
        if ((id || ip) && mask_bit(folded, "AutoExitNode") != 1)
                p->auto_exit_node[0] = '\0';
        if (id && p->exit_node_id[0] == '\0')
                p->internal_exit_node_prior[0] = '\0';
        if (!id || strncmp(p->exit_node_id, "auto:", 5) != 0 || p->exit_node_id[5] == '\0')
                return ERR_NONE;
        *ret_why = "out of memory";
        return prefs_copy_string(p->exit_node_id + 5, &p->auto_exit_node);
}

enum err prefs_apply_masked(struct prefs *p, const json_t *masked, bool *ret_changed, const char **ret_why)
{
        struct prefs from, next;
        zero(&from);
        json_t *folded = prefs_fold(masked);
        enum err err = prefs_overlay(&from, masked, ret_why);
        if (err != ERR_NONE || folded == NULL || prefs_copy(p, &next) != ERR_NONE) {
                if (err == ERR_NONE) {
                        *ret_why = "out of memory";
                        err = ERR_FULL;
                }
                prefs_done(&from);
                json_decref(folded);
                return err;
        }
        for (size_t i = 0; i < PREFS_FIELDS && err == ERR_NONE; i++)
                err = apply_field(&prefs_fields[i], &next, &from, folded, ret_why);
        if (err == ERR_NONE)
                err = apply_exit_node(&next, folded, ret_why);
        if (err == ERR_NONE) {
                const char *why = prefs_check_new(p, &next);
                if (why != NULL) {
                        *ret_why = why;
                        err = ERR_UNSUPPORTED;
                }
        }
        if (err == ERR_NONE) {
                *ret_changed = !prefs_equal(p, &next);
                prefs_done(p);
                *p = next;
        } else {
                prefs_done(&next);
        }
        prefs_done(&from);
        json_decref(folded);
        return err;
}
