/* cli/command.h - what the subcommands share.  Exit codes: 0 done, 1 failed, 2 wrong flags. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

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
};

extern const struct command commands[];   /* ends with name NULL */

/* Parses the flags of a subcommand; true: go on with the words from *ret_rest.  False: return *ret_code. */
bool command_flags(const struct command *self, struct flag *flags, size_t n, int argc, char **argv, int *ret_rest,
        int *ret_code);
/* No words may be left; false: said so. */
bool command_no_words(int argc, char **argv, int rest);

int cmd_up(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_login(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_down(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_logout(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_status(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_ping(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_ip(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_whois(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_netcheck(struct cli *c, const struct command *self, int argc, char **argv);
int cmd_version(struct cli *c, const struct command *self, int argc, char **argv);

/* The whole program but main(). */
int cli_main(int argc, char **argv);

/* ---- cli/peers.c: reading a Status object ---- */

/* GET status; NULL: said why. */
json_t *status_get(struct cli *c, bool peers);
/* Prints why the node is not running, as `status` words it; true: it runs. */
bool status_is_running(const json_t *status);
/* A name as status shows it, a full DNS name, or an address -> address text.  False: said why. */
bool status_resolve(const json_t *status, const char *word, char *out, size_t cap);
/* The DNS name without the tailnet's suffix; the quoted host name when there is none. */
void status_short_name(const json_t *status, const json_t *peer, char *out, size_t cap);
/* Prints with the given indent and a final newline if nl. */
void json_print(const json_t *j, unsigned indent, bool nl);
