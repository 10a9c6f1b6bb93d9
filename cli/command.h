/* cli/command.h - what the subcommands share.  Exit codes: 0 done, 1 failed, 2 wrong flags. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/jview.h"
#include "cli/client.h"
#include "cli/flags.h"

struct cli {
        struct client *client;
        const char *socket;
};

struct command {
        const char *name;
        const char *summary;
        const char *usage;   /* words behind "tailscale NAME" */
        int (*run)(struct cli *c, const struct command *self, int argc, char **argv);
        bool names_endpoint;   /* see client_name_endpoints() */
};

extern const struct command commands[];   /* ends with name NULL */

/* Parses the flags of a subcommand; true: go on with the words from *ret_rest.  False: return *ret_code. */
bool command_flags(const struct command *self, struct flag *flags, size_t n, int argc, char **argv, int *ret_rest,
        int *ret_code);
void command_usage(const struct command *self, const struct flag *flags, size_t n, FILE *out);
/* The same of a command that takes no words behind its flags. */
bool command_flags_alone(const struct command *self, struct flag *flags, size_t n, int argc, char **argv, int *ret_code);
/* No words may be left; false: said so. */
bool command_no_words(int argc, char **argv, int rest);

int cmd_up(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_set(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_exit_node(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_login(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_down(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_logout(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_status(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_ping(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_nc(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_ip(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_whois(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_dns(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_debug(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_metrics(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_netcheck(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_version(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_switch(struct cli *c, const struct command *self, int argc, char **argv);

/* ---- what the commands print, without a daemon ---- */

struct status_view {
        bool peers, self, active, header;
};
struct brief;   /* below */
/* The text of `status`; returns its exit code.  now_ns: wall clock. */
int status_print(const struct brief *b, const struct status_view *v, int64_t now_ns, FILE *out);
void whois_print(const json_t *whois, FILE *out);
/* The addresses that the selectors of `ip` choose; 0 when there is one, else 1 and a complaint on stderr. */
int ip_print(const json_t *ips, bool first, bool v4, bool v6, FILE *out);
void netcheck_print(const json_t *report, const json_t *derpmap, bool verbose, FILE *out);
enum ping_outcome { PING_RELAY, PING_DIRECT, PING_INSIDE, PING_LOST, PING_SELF, PING_FATAL };
enum ping_outcome ping_print(const char *ip, const char *type, const json_t *result, FILE *out);

/* ---- cli/paths.c ---- */

int debug_paths(struct cli *c, int argc, char **argv);
/* What the daemon knows of the paths to that address; NULL: said why, but if quiet not that there is no such peer. */
json_t *paths_get(struct cli *c, const char *ip, bool quiet);
/* whole: with times and history.  All text in it is clean. */
void paths_print(const json_t *paths, bool whole, FILE *out);

/* ---- cli/portmap.c ---- */

int debug_portmap(struct cli *c, int argc, char **argv);

/* ---- cli/switch.c, the parts without a daemon; list is an array of LoginProfile ---- */

/* The id of the profile with that id, domain, name or display name; NULL: none. */
const char *switch_find(const json_t *list, const char *word);
void switch_print_list(const json_t *list, const char *current_id, FILE *out);
json_t *switch_list_json(const json_t *list, const char *current_id);   /* new reference */

/* The whole program but main(). */
int cli_main(int argc, char **argv);

/* ---- cli/up.c ---- */

/* Prints what the kernel lacks for forwarding. */
void warn_of_forwarding(struct cli *c);

/* Says on stderr that what was done will not outlast the daemon, if so. */
void warn_of_unsaved(const json_t *status);

/* ---- cli/peers.c: reading a Status object ---- */

/* GET status; NULL: said why. */
json_t *status_get(struct cli *c, bool peers);
/* A status of which the peers, who may be many, are parsed one at a time. */
struct brief {
        json_t *status;        /* all but the peers; or with them, in the full form */
        struct answer answer;  /* text of the peers */
};
/* Of peers it has what status_print() shows and status_resolve() looks at.  False: said why. */
bool brief_get(struct cli *c, struct brief *ret);
void brief_done(struct brief *b);
/* Each peer, clean for a terminal; fn returns false to stop. */
typedef bool (*brief_fn)(void *arg, const struct jview *peer);
void brief_each(const struct brief *b, brief_fn fn, void *arg);
/* This node, likewise; NULL: the status does not have it. */
void brief_self(const struct brief *b, brief_fn fn, void *arg);
/* Prints why the node is not running, as `status` words it; true: it runs. */
bool status_is_running(const json_t *status, FILE *out);
/* What is wrong, as comment lines; false: nothing is, nothing printed. */
bool status_print_health(const json_t *status, FILE *out);
/* A name as status shows it, a full DNS name, or an address -> address text.  False: said why. */
bool status_resolve(const struct brief *b, const char *word, char *out, size_t cap);
/* The DNS name without the tailnet's suffix; the quoted host name when there is none. */
void status_short_name(const json_t *status, const char *dns_name, const char *host_name, char *out, size_t cap);
/* Prints with the given indent and a final newline if nl. */
void json_print(const json_t *j, unsigned indent, bool nl);
