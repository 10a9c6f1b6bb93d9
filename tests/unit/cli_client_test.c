/* The client side of the socket, and the commands over it: what they ask, print and return. */
#include "cli/client.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "base/json.h"
#include "base/mono.h"
#include "tests/unit/cli_fake_daemon.h"

static struct fake_daemon d;
static struct said said;

static void run(const char *line)
{
        fake_cli(d.path, line, &said);
}

static void contains(const char *text, const char *part)
{
        if (strstr(text, part) == NULL)
                fail_msg("\"%s\" does not say \"%s\"", text, part);
}

#define RUNNING "{\"BackendState\":\"Running\",\"MagicDNSSuffix\":\"x\",\"TailscaleIPs\":[\"100.64.0.1\"],\"Self\":{\"TailscaleIPs\":[\"100.64.0.1\"]," \
                "\"DNSName\":\"me.x.\"},\"Peer\":{\"k\":{\"TailscaleIPs\":[\"100.64.0.2\"],\"DNSName\":\"db.x.\"}}}"

/* ---- client.c alone ---- */

static void answers_come_as_they_are(void **state)
{
        (void)state;
        static const struct fake_answer table[] = {
                {"GET plain", 200, "{\"a\":1}", false}, {"GET closed", 200, "{\"a\":2}", true},
                {"POST empty", 204, NULL, false}, {"GET bad", 200, "{", false}, {"GET hangup", 200, "hangup", false},
                {"GET hang", 200, "hang", false}, {0}};
        struct answer a;
        fake_start(&d, table);
        struct client *c = client_new(d.path);
        assert_non_null(c);
        assert_string_equal(client_socket(c), d.path);
        static const struct {
                const char *method, *path, *body;
                enum err err;
                long status;
                const char *text;
        } rows[] = {
                {"GET", "plain", NULL, ERR_NONE, 200, "{\"a\":1}"}, {"GET", "closed", NULL, ERR_NONE, 200, "{\"a\":2}"},
                {"POST", "empty", "{\"b\":\"x\"}", ERR_NONE, 204, ""}, {"GET", "other", NULL, ERR_NONE, 404, "no such thing\n"},
                {"GET", "hangup", NULL, ERR_IO, 0, ""}, {"GET", "hang", NULL, ERR_TIMEOUT, 0, ""},
                {"GET", "plain", NULL, ERR_NONE, 200, "{\"a\":1}"},   /* and the client is none the worse for it */
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                client_call(c, rows[i].method, rows[i].path, rows[i].body, rows[i].err == ERR_TIMEOUT ? 300 * NS_PER_MS : 0, &a);
                assert_int_equal(a.err, rows[i].err);
                assert_int_equal(a.status, rows[i].status);
                assert_int_equal(a.body.len, strlen(rows[i].text));
                assert_memory_equal(a.body.len > 0 ? a.body.data : "", rows[i].text, a.body.len);
                json_t *j = answer_json(&a);
                assert_int_equal(j != NULL, rows[i].text[0] == '{');
                json_decref(j);
                answer_done(&a);
        }
        client_free(c);
        fake_stop(&d);
        contains(d.asked, "POST empty {\"b\":\"x\"}\n");
}

static void no_daemon(void **state)
{
        (void)state;
        struct answer a;
        char path[64];
        snprintf(path, sizeof(path), "/tmp/cli-none-%d.sock", (int)getpid());
        struct client *c = client_new(path);
        mono_t start = mono_now();
        client_call(c, "GET", "x", NULL, 0, &a);
        assert_int_equal(a.err, ERR_NOT_FOUND);
        assert_true(mono_diff_ms(mono_now(), start) >= 1500);   /* it may be starting just now */
        answer_done(&a);
        start = mono_now();
        client_call(c, "GET", "x", NULL, 0, &a);
        assert_int_equal(a.err, ERR_NOT_FOUND);
        assert_true(mono_diff_ms(mono_now(), start) < 1000);    /* patience is for the life of the client */
        answer_done(&a);
        client_free(c);
        /* Waiting does not make a file a socket. */
        c = client_new("/etc/passwd");
        start = mono_now();
        client_call(c, "GET", "x", NULL, 0, &a);
        assert_int_equal(a.err, ERR_FORMAT);
        assert_true(mono_diff_ms(mono_now(), start) < 1000);
        answer_done(&a);
        client_free(c);
        fake_cli("/etc/passwd", "status", &said);
        contains(said.err, "/etc/passwd is no socket\n");
        char longer[200];
        memset(longer, 'x', sizeof(longer));
        longer[sizeof(longer) - 1] = '\0';
        assert_null(client_new(longer));
}

static void *hang_up(void *arg)
{
        int listener = *(int *)arg, fd;
        while ((fd = accept(listener, NULL, NULL)) >= 0)
                close(fd);
        return NULL;
}

/* A daemon that dies while it is written to is an error of the command, not a signal that ends it. */
static void daemon_hangs_up_unread(void **state)
{
        (void)state;
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        char *body = calloc(1, (8 << 20) + 1);
        assert_non_null(body);
        memset(body, 'x', 8 << 20);   /* more than a socket takes: the rest meets a closed one */
        snprintf(sa.sun_path, sizeof(sa.sun_path), "/tmp/cli-hup-%d.sock", (int)getpid());
        int listener = socket(AF_UNIX, SOCK_STREAM, 0);
        pthread_t t;
        assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
        assert_int_equal(listen(listener, 16), 0);
        assert_int_equal(pthread_create(&t, NULL, hang_up, &listener), 0);
        struct client *c = client_new(sa.sun_path);
        for (int i = 0; i < 20; i++) {
                struct answer a;
                client_call(c, "POST", "x", body, 0, &a);
                assert_int_equal(a.err, ERR_IO);
                answer_done(&a);
        }
        client_free(c);
        free(body);
        fake_cli(sa.sun_path, "down", &said);
        assert_int_equal(said.code, 1);
        contains(said.err, "the daemon hung up on status");
        (void)shutdown(listener, SHUT_RDWR);
        pthread_join(t, NULL);
        close(listener);
        unlink(sa.sun_path);
}

static int events;

static bool on_event(void *arg, const json_t *e)
{
        (void)arg;
        assert_int_equal(json_int(e, "n", 0), ++events);
        return events != 3;
}

static bool on_tick(void *arg, bool connected)
{
        int *connects = arg;
        *connects += connected;
        return true;
}

static void the_bus_is_read_line_by_line(void **state)
{
        (void)state;
        static const struct fake_answer table[] = {
                {"GET more", 200, "{\"n\":1}\nnonsense\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n", true},
                {"GET few", 200, "{\"n\":1}\n{\"n\":2", true}, {0}};
        int connects = 0;
        fake_start(&d, table);
        struct client *c = client_new(d.path);
        struct bus_watch w = {.path = "more", .on_event = on_event, .on_tick = on_tick, .arg = &connects};
        events = 0;
        assert_int_equal(client_watch(c, &w), ERR_NONE);   /* the third one said stop */
        assert_int_equal(events, 3);
        w.path = "few";
        events = 0;
        assert_int_equal(client_watch(c, &w), ERR_CLOSED);
        assert_int_equal(events, 1);
        client_free(c);
        fake_stop(&d);
}

/* ---- commands ---- */

static const struct fake_answer usual[] = {
        {"GET status", 200, RUNNING, false}, {"GET status?brief=true", 200, RUNNING, false}, {"GET status?peers=false", 200, RUNNING, false},
        {"GET prefs", 200, "{\"ControlURL\":\"http://h\"}", false}, {"PATCH prefs", 200, "{}", false},
        {"POST logout", 204, NULL, false},
        {"GET whois?addr=100.64.0.2&proto=tcp", 200, "{\"Node\":{\"Name\":\"db.x.\",\"StableID\":\"2\"},\"UserProfile\":{}}", false},
        {"POST ping?ip=100.64.0.2&type=disco&size=0", 200,
                "{\"NodeName\":\"db\",\"NodeIP\":\"100.64.0.2\",\"LatencySeconds\":0.01,\"Endpoint\":\"1.2.3.4:5\"}", false},
        {"POST ping?ip=100.64.0.2&type=disco&size=7", 200, "hang", false},
        {"GET debug-paths?ip=100.64.0.2", 200, "{\"NodeName\":\"db\\u001b[1m\",\"NodeIP\":\"100.64.0.2\",\"State\":\"relay\",\"Relay\":\"fra\"}",
                false},
        {"POST ping?ip=100.64.0.9&type=disco&size=0", 200, "{\"Err\":\"no matching peer\"}", false},
        {"GET debug-paths?ip=100.64.0.9", 404, "no matching peer\n", false},
        {"GET whois?addr=100.64.0.3&proto=tcp", 400, "no such port\n", false},
        {"GET dns-query?name=a..b&type=A", 400, "bad 'name'\n", false},
        {"GET dns-query?name=a.x&type=A", 200, "{\"Bytes\":\"AAGFggAAAAAAAAAA\",\"Resolvers\":null}", false},
        {"GET derpmap", 200, "null", false}, {"POST netcheck", 500, "{\"error\":\"no relay map yet\"}", false},
        {"POST netcheck?bind_address=192.0.2.1&bind_port=0", 200, "{\"UDP\":false}", false},
        {"POST netcheck?bind_address=&bind_port=7", 200, "{\"UDP\":true}", false},
        {"GET profiles/current", 200, "{\"ID\":\"00aa\"}", false},
        {"GET profiles/", 200, "[{\"ID\":\"00aa\",\"Name\":\"u\"},{\"ID\":\"00bb\",\"Name\":\"v\"},{\"ID\":\"00cc\",\"Name\":\"w\"}]", false},
        {"POST profiles/00bb", 204, NULL, false}, {"DELETE profiles/00bb", 204, NULL, false},
        {"POST profiles/00cc", 500, "profile not found\n", false},
        {"POST debug?action=current-netmap", 400, "no netmap\n", false},
        {"POST debug?action=restun", 200, "done\n", false}, {"POST debug?action=rebind", 200, "done\n", false},
        {"GET check-ip-forwarding", 200, "{\"Warning\":\"w4\"}", false}, {"GET check-udp-gro-forwarding", 200, "{\"Warning\":\"\"}", false},
        {0},
};

static void commands_ask_and_say(void **state)
{
        (void)state;
        static const struct {
                const char *line;
                int code;
                const char *out, *err, *asked;   /* NULL: not looked at; err: a part, behind '=' all of it */
        } rows[] = {
                {"down", 0, "", "", "GET status?peers=false\nPATCH prefs {\"WantRunning\":false,\"WantRunningSet\":true}\n"},
                {"logout", 0, "", "", "POST logout\n"},
                {"ip", 0, "100.64.0.1\n", "", "GET status?peers=false\n"},
                {"ip -4 db", 0, "100.64.0.2\n", "", "GET status\n"},
                {"ip --assert=100.64.0.1", 0, "", "", NULL},
                {"ip --assert=100.64.0.2", 1, "", "assertion failed: IP \"100.64.0.2\" not found among [100.64.0.1]", NULL},
                {"ip 1.2.3.4", 1, "", "no peer or service found with IP 1.2.3.4", NULL},
                {"ip -6", 1, "", "no Tailscale IPv6", NULL},
                {"ip -4 -6", 1, "", "exclude each other", ""},
                {"whois 100.64.0.2", 0, NULL, "", "GET whois?addr=100.64.0.2&proto=tcp\n"},
                {"whois 100.64.0.9", 1, "", "peer not found", NULL},
                {"whois host", 1, "", "=invalid 'addr' parameter \"host\": want IP, IPv4:PORT or [IPv6]:PORT, no name\n", ""},
                {"whois 100.64.0.3", 1, "", "=no such port\n", NULL},
                {"dns query a..b", 1, "", "=failed to query DNS: bad 'name'\n", NULL},
                {"whois --proto=icmp 100.64.0.2", 2, "", "for flag -proto: want tcp or udp", ""},
                {"ping db", 0, "pong from db (100.64.0.2) via 1.2.3.4:5 in 10ms\n", "",
                        "GET status?brief=true\nPOST ping?ip=100.64.0.2&type=disco&size=0\n"},
                {"ping --verbose db", 0, "pong from db (100.64.0.2) via 1.2.3.4:5 in 10ms\ndb?[1m (100.64.0.2): by DERP(fra)\nCandidates: none\n",
                        "lookup \"db\" => \"100.64.0.2\"", NULL},
                {"ping --json --c=2 --timeout=100ms --size=7 100.64.0.2", 1, "{\"IP\":\"100.64.0.2\",\"Err\":\"timed out\"}\n"
                        "{\"IP\":\"100.64.0.2\",\"Err\":\"timed out\"}\n", "no reply\n", NULL},
                {"ping --json 100.64.0.9", 1, "{\"Err\":\"no matching peer\"}\n", "", NULL},
                {"debug paths --json db", 0, "{\n  \"NodeName\": \"db\\u001B[1m\",\n  \"NodeIP\": \"100.64.0.2\",\n  \"State\": \"relay\",\n"
                        "  \"Relay\": \"fra\"\n}\n", "", "GET status?brief=true\nGET debug-paths?ip=100.64.0.2\n"},
                {"debug paths 100.64.0.9", 1, "", "=no matching peer\n", NULL},
                {"ping --verbose 100.64.0.9", 1, "", "=no matching peer with address 100.64.0.9\n'tailscale status' lists them\n", NULL},
                {"debug paths --help", 0, "", "usage: tailscale debug paths [--json] HOST-OR-IP\n\nshow the paths to a peer", ""},
                {"debug portmap --help", 0, "", "usage: tailscale debug portmap [flags]\n\nask the router for a port", ""},
                {"debug paths nobody", 1, "", "error looking up IP of \"nobody\"", "GET status?brief=true\n"},
                {"debug paths", 1, "", "usage: tailscale debug paths [--json] HOST-OR-IP\n", ""},
                {"debug paths --nope db", 2, "", "not defined: -nope", ""},
                {"ping --c=2 --timeout=100ms --size=7 100.64.0.2", 1,
                        "ping \"100.64.0.2\" timed out\nping \"100.64.0.2\" timed out\n", "no reply\n", NULL},
                {"ping --size=5000 db", 2, "", "=invalid value for flag -size: want 0 to 2048 bytes, the largest packet carried\n", ""},
                {"ping --size=-1 db", 2, "", "invalid value for flag -size", ""},
                {"ping 100.64.0.9", 1, "", "no matching peer", NULL},
                {"ping nobody", 1, "", "error looking up IP of \"nobody\"", "GET status?brief=true\n"},
                {"netcheck", 1, "", "=no relay map yet\n", NULL},
                {"netcheck --bind-address=192.0.2.1", 0, NULL, "=this is how it looks from the address and port that were named: "
                        "without --bind-address and --bind-port it may look otherwise\n", NULL},
                {"netcheck --bind-port=7", 0, NULL, "", NULL},
                {"status", 0, NULL, "", "GET status?brief=true\n"},
                {"status --json", 0, NULL, "", "GET status\n"},
                {"status --self=false --peers=false", 0, "", "", "GET status?peers=false\n"},
                {"version --daemon", 0, NULL, "", NULL},
                {"switch --list", 0, "ID    Tailnet  Account\n00aa           u*\n00bb           v\n00cc           w\n", "",
                        "GET profiles/current\nGET profiles/\n"},
                {"switch u", 0, "Already on account \"u\"\n", "", NULL},
                {"switch v", 0, "Switching to account \"v\"\nSuccess.\n", "",
                        "GET profiles/current\nGET profiles/\nPOST profiles/00bb\nGET status?peers=false\n"},
                {"switch w", 1, "Switching to account \"w\"\n", "500 Internal Server Error: profile not found\n", NULL},
                {"switch x", 1, "", "No profile named \"x\"", NULL},
                {"switch remove v", 0, "", "", "GET profiles/current\nGET profiles/\nDELETE profiles/00bb\n"},
                {"switch", 1, "usage: tailscale switch NAME\n", "", ""},
                {"switch --list x", 1, "", "non-flag", ""},
                {"debug prefs", 0, "{\n\t\"ControlURL\": \"http://h\"\n}\n", "", "GET prefs\n"},
                {"debug derp-map", 0, "{\n\t\"Regions\": null\n}\n", "", "GET derpmap\n"},
                {"debug netmap", 1, "", "error 400 Bad Request: no netmap\n", "POST debug?action=current-netmap\n"},
                {"debug", 1, "", "missing subcommand; there is: netmap, prefs, derp-map, metrics, restun, rebind, paths, portmap, via\n", ""},
                {"debug restun", 0, "", "", "POST debug?action=restun\n"},
                {"debug rebind", 0, "", "", "POST debug?action=rebind\n"},
                {"debug via 7 10.1.1.0/24", 0, "fd7a:115c:a1e0:b1a:0:7:a01:100/120\n", "", ""},
                {"debug via 0xffff 10.1.1.16/32", 0, "fd7a:115c:a1e0:b1a:0:ffff:a01:110/128\n", "", ""},
                {"debug via fd7a:115c:a1e0:b1a:0:7:a01:100/120", 0, "site 7 (0x7), 10.1.1.0/24\n", "", ""},
                {"debug via fd7a:115c:a1e0:b1a::/96", 0, "site 0 (0x0), 0.0.0.0/0\n", "", ""},
                {"debug via fd7a:115c:a1e0:b1a::/64", 1, "", "want a CIDR of at least /96 below fd7a:115c:a1e0:b1a::/64", ""},
                {"debug via fd7a:115c:a1e0:b1b::/96", 1, "", "want a CIDR of at least /96", ""},
                {"debug via 10.0.0.0/8", 1, "", "want a CIDR of at least /96", ""},
                {"debug via 65536 10.0.0.0/8", 1, "", "want a number from 0 to 65535, decimal or hex with 0x", ""},
                {"debug via -1 10.0.0.0/8", 2, "", "not defined: -1", ""},
                {"debug via 7x 10.0.0.0/8", 1, "", "invalid site-id \"7x\"", ""},
                {"debug via 7 fd00::/8", 1, "", "want an IPv4 CIDR such as 10.1.1.0/24", ""},
                {"debug via", 1, "", "expect a site and an IPv4 network, or an IPv6 network", ""},
                {"debug via 1 2 3", 1, "", "usage: tailscale debug via SITE-ID IPV4-CIDR", ""},
                {"debug fly", 1, "", "unknown subcommand: fly; there is: netmap", ""},
                {"debug prefs x", 1, "", "non-flag", ""},
                {"debug prefs --nope", 2, "", "flag provided but not defined: -nope\n", ""},
                /* what the kernel lacks for forwarding matters to those who forward */
                {"set --advertise-routes=10.0.0.0/24", 0, "Warning: w4\n", "", NULL},
                {"set --advertise-routes=", 0, "", "", NULL},
                {"set --advertise-exit-node=false", 0, "", "", NULL},
                {"set --advertise-routes= --advertise-exit-node=false", 0, "", "", NULL},
                {"set --advertise-routes= --advertise-exit-node", 0, "Warning: w4\n", "", NULL},
                {"nonsense", 1, "", "=tailscale: unknown subcommand: nonsense\n'tailscale --help' lists them\n", ""},
                {"serve 80", 1, "", "=tailscale serve: not there yet in this program\n'tailscale --help' lists what is\n", ""},
                {"set --accept-dns false", 1, "", "=too many non-flag arguments: [\"false\"]\n"
                        "the value of a switch stands behind '=': --accept-dns=false\n", ""},
                {"set --hostname=h false", 1, "", "=too many non-flag arguments: [\"false\"]\nonly flags are allowed here\n", ""},
                {"set --help", 0, "", "\n  --accept-dns[=false]             take DNS settings from the server (default true)\n", ""},
                {"set --help", 0, "", "\n  --shields-up                     let no connection in\n", ""},
                {"set --help", 0, "", "\n  --exit-node TEXT                 send all traffic", ""},
                {"up --help", 0, "", "\n  --auth-key KEY                   log in with this key; file:PATH reads it\n", ""},
                {"up --help", 0, "", "\n  --timeout TIME                   give up after this long; 0 = never (default 0s)\n", ""},
                {"down --help", 0, "", "=usage: tailscale down\n\ndisconnect, staying logged in\n", ""},
                {"debug --help", 0, "", "usage: tailscale debug netmap|prefs|derp-map|metrics|restun|rebind|paths|portmap|via\n", ""},
                {"up --posture-checking", 1, "", "--report-posture: posture reporting is not there yet", ""},
                {"help ip", 0, "", "usage: tailscale ip", ""},
                {"help", 0, "", "usage: tailscale [--socket", ""},
                {"help nonsense", 1, "", "unknown subcommand: nonsense\n", ""},
                {"up --auth-key=file:", 1, "", "=--auth-key=file: names no file; it must look like --auth-key=file:/path/to/key\n", ""},
                {"dns query a.x", 0, "DNS query for \"a.x\" (A) using internal resolver:\n\nNot forwarded to any resolver.\n\n"
                        "Response code: RCodeServerFailure\n\nNo answers were returned.\n", "", NULL},
                {"ip --nope", 2, "", "flag provided but not defined: -nope\n", ""},
                {"up --auth-key=SECRET --hostname=given --nope", 2, "", "--hostname TEXT                  name to show instead of the host's\n", ""},
                {"up hskey-auth-SECRET", 1, "", "too many non-flag arguments: [\"...\"]\n", ""},
                {"up auth-key=SECRET", 1, "", "too many non-flag arguments: [\"...\"]\n", ""},
                {"up --auth-key:SECRET", 2, "", "flag provided but not defined: -auth-key\n", ""},
                {"tskey-auth-SECRET", 1, "", "tailscale: unknown subcommand: ...\n", ""},
                {"ip --help", 0, "", "usage: tailscale ip", ""},
                {"--help", 0, "", "usage: tailscale", ""},
                {"", 0, "", "usage: tailscale", ""},
                {"--version", 0, PRODUCT_VERSION "\n", "", ""},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                fake_start(&d, usual);
                run(rows[i].line);
                fake_stop(&d);
                if (said.code != rows[i].code)
                        fail_msg("%s: exit %d, %s%s", rows[i].line, said.code, said.out, said.err);
                if (rows[i].out != NULL)
                        assert_string_equal(said.out, rows[i].out);
                if (rows[i].err != NULL && rows[i].err[0] == '\0')
                        assert_string_equal(said.err, "");
                else if (rows[i].err != NULL && rows[i].err[0] == '=')
                        assert_string_equal(said.err, rows[i].err + 1);
                else if (rows[i].err != NULL)
                        contains(said.err, rows[i].err);
                if (rows[i].asked != NULL)
                        assert_string_equal(d.asked, rows[i].asked);
                assert_null(strstr(said.err, "SECRET"));
        }
}

/* The brief form, in which peers come one at a time. */
static void peers_come_in_brief(void **state)
{
        (void)state;
        static const struct fake_answer table[] = {{"GET status?brief=true", 200, "{\"BackendState\":\"Running\",\"MagicDNSSuffix\":\"x\","
                "\"Self\":{\"DNSName\":\"me.x.\",\"TailscaleIPs\":[\"100.64.0.1\"],\"Online\":true},\"Health\":[],\"Peers\":["
                "{\"DNSName\":\"c.x.\",\"UserID\":5,\"LoginName\":\"u@h\",\"OS\":\"linux\",\"TailscaleIPs\":[\"100.64.0.4\"]},"
                "{\"DNSName\":\"a.x.\",\"UserID\":6,\"TailscaleIPs\":[\"100.64.0.2\"],\"Online\":true},"
                "{\"DNSName\":\"d.x.\",\"ShareeNode\":true},"
                "{\"DNSName\":\"b\\u001b.x.\",\"Online\":true,\"Active\":true,\"Relay\":\"r\"}]}", false},
                {"POST ping?ip=100.64.0.4&type=disco&size=0", 200, "{\"NodeName\":\"c\",\"LatencySeconds\":0.01,\"Endpoint\":\"e\"}", false}, {0}};
        fake_start(&d, table);
        run("status");
        assert_int_equal(said.code, 0);
        assert_string_equal(said.out, "100.64.0.1  me  -          -                  \n"
                "100.64.0.2  a   6          -                  \n"
                "            b?  -          active; relay \"r\"  \n"
                "100.64.0.4  c   u@  linux  offline            \n");
        run("status --active");
        assert_string_equal(said.out, "100.64.0.1  me  -    -                  \n            b?  -    active; relay \"r\"  \n");
        run("ping -c 1 c");
        assert_int_equal(said.code, 0);
        run("ping -c 1 nobody");
        contains(said.err, "no peer has that name");
        fake_stop(&d);
        static const struct fake_answer bad[] = {{"GET status?brief=true", 200, "{\"BackendState\":\"Running\",\"Peers\":[{\"DNSName\":\"a\"},{1}]}",
                false}, {0}};
        fake_start(&d, bad);
        run("status");
        contains(said.err, "cannot be read to its end");
        fake_stop(&d);
        static const struct fake_answer cut[] = {{"GET status?brief=true", 200, "{\"BackendState\":\"Running\",\"Peers\":[{\"DNSName\":\"a\"},", false},
                {0}};
        fake_start(&d, cut);
        run("status");
        assert_int_equal(said.code, 1);
        contains(said.err, "is not what it should be");
        fake_stop(&d);
}

static void json_has_the_peers_by_key(void **state)
{
        (void)state;
        static const struct fake_answer table[] = {{"GET status", 200, "{\"Self\":{},\"Peer\":{\"c\":{\"n\":3},\"a\":{\"n\":1},"
                "\"b\":{\"n\":2}},\"User\":{}}", false}, {0}};
        fake_start(&d, table);
        run("status --json");
        fake_stop(&d);
        json_t *j = json_parse(said.out, strlen(said.out));
        char *text = json_dumps(j, JSON_COMPACT);
        assert_string_equal(text, "{\"Self\":{},\"Peer\":{\"a\":{\"n\":1},\"b\":{\"n\":2},\"c\":{\"n\":3}},\"User\":{}}");
        free(text);
        json_decref(j);
}

static void output_that_is_lost_is_no_success(void **state)
{
        (void)state;
        int old_out = dup(STDOUT_FILENO), old_err = dup(STDERR_FILENO), full = open("/dev/full", O_WRONLY);
        FILE *err = tmpfile();
        char text[256], *argv[] = {(char[]){"tailscale"}, (char[]){"version"}, NULL};
        assert_true(full >= 0 && err != NULL);
        fflush(stdout);
        dup2(full, STDOUT_FILENO);
        dup2(fileno(err), STDERR_FILENO);
        int code = cli_main(2, argv);
        clearerr(stdout);
        dup2(old_out, STDOUT_FILENO);
        dup2(old_err, STDERR_FILENO);
        close(old_out);
        close(old_err);
        close(full);
        fake_slurp(err, text, sizeof(text));
        assert_int_equal(code, 1);
        assert_string_equal(text, "the output cannot be written to its end: No space left on device\n");
}

static void error_answers_have_their_words(void **state)
{
        (void)state;
        static const struct {
                int status;
                const char *body, *says;
        } rows[] = {
                {400, "bad\n", "400 Bad Request: bad\n"}, {400, "{\"Error\":\"why\"}", "400 Bad Request: why\n"},
                {500, "{\"error\":\"why\"}", "500 Internal Server Error: why\n"}, {404, "gone\n", "404 Not Found: gone\n"},
                {403, "prefs write access denied\n", "Access denied: prefs write access denied\n"},
                {403, "access denied: prefs needs root\n", "Access denied: prefs needs root\n"},
                {503, "", "503 Service Unavailable: \n"}, {200, "{", "is not what it should be"},
                {200, "hangup", "hung up on status"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct fake_answer table[2] = {{"GET status?brief=true", rows[i].status, rows[i].body, false}, {0}};
                fake_start(&d, table);
                run("status");
                fake_stop(&d);
                assert_int_equal(said.code, 1);
                assert_string_equal(said.out, "");
                contains(said.err, rows[i].says);
        }
        /* A setting that is refused: the daemon's words alone, and not what it would have needed. */
        static const struct fake_answer refused[] = {
                {"GET status?peers=false", 200, RUNNING, false}, {"GET prefs", 200, "{}", false},
                {"GET check-ip-forwarding", 200, "{\"Warning\":\"w4\"}", false},
                {"GET check-udp-gro-forwarding", 200, "{\"Warning\":\"\"}", false},
                {"PATCH prefs", 400, "{\"Error\":\"not both\"}", false}, {0}};
        fake_start(&d, refused);
        run("set --advertise-exit-node");
        fake_stop(&d);
        assert_int_equal(said.code, 1);
        assert_string_equal(said.out, "");
        assert_string_equal(said.err, "not both\n");
        /* `up` would want every setting mentioned. */
        static const struct fake_answer denied[] = {{"GET status?brief=true", 403, "no\n", false}, {0}};
        if (geteuid() != 0 || seteuid(65534) == 0) {
                fake_start(&d, denied);
                run("status");
                fake_stop(&d);
                contains(said.err, "'sudo tailscale set --operator=$USER'");
                assert_true(geteuid() != 65534 || getuid() != 0 || seteuid(0) == 0);
        }
}

/* ---- up and login ---- */

#define UNSAVED "{\"BackendState\":\"NeedsLogin\",\"Health\":[\"x\",\"the state file /s cannot be written: full\"]}"

static const char bus_ok[] = "{\"State\":5}\n{\"State\":null}\n{\"State\":6}\n";

static void ups(void **state)
{
        (void)state;
        static const struct {
                const char *line, *status, *prefs, *bus;
                int code;
                const char *out, *err;      /* err: a part; "" = nothing at all */
                const char *asked;          /* a part */
        } rows[] = {
                /* fresh, with a key: start, then the login that carries it */
                {"up --login-server=http://h --auth-key=k", "{\"BackendState\":\"NeedsLogin\"}", "{\"ControlURL\":\"\"}", bus_ok, 0, "",
                        "", "\nPOST login-interactive\n"},
                /* a node key is there: start alone, or a one-off key would be used twice */
                {"up --login-server=http://h --auth-key=k", "{\"BackendState\":\"NeedsLogin\",\"HaveNodeKey\":true}",
                        "{\"ControlURL\":\"http://h\",\"CorpDNS\":true,\"NetfilterMode\":2}", bus_ok, 0, "", "", "\"AuthKey\":\"k\""},
                /* stopped, and nothing named: only the switch */
                {"up", "{\"BackendState\":\"Stopped\",\"HaveNodeKey\":true}",
                        "{\"ControlURL\":\"http://h\",\"Hostname\":\"x\",\"Config\":{\"UserProfile\":{\"LoginName\":\"u\"}}}", bus_ok, 0, "", "",
                        "PATCH prefs {\"WantRunning\":true,\"WantRunningSet\":true}\n"},
                /* running: what was named is changed, no bus */
                {"up --login-server=http://h --hostname=y", "{\"BackendState\":\"Running\",\"HaveNodeKey\":true}",
                        "{\"ControlURL\":\"http://h\",\"CorpDNS\":true,\"NetfilterMode\":2}", bus_ok, 0, "", "", "\"HostnameSet\":true"},
                {"up --login-server=http://other", "{\"BackendState\":\"Running\",\"HaveNodeKey\":true}",
                        "{\"ControlURL\":\"http://h\",\"CorpDNS\":true,\"NetfilterMode\":2}", bus_ok, 1, "",
                        "can't change --login-server without --force-reauth\n", "GET prefs\n"},
                {"up --hostname=y", "{\"BackendState\":\"Stopped\",\"HaveNodeKey\":true}",
                        "{\"ControlURL\":\"http://h\",\"CorpDNS\":true,\"NetfilterMode\":2,\"Config\":{\"NodeID\":\"n1\"}}", bus_ok, 1,
                        "", "\n\ttailscale up --hostname=y --login-server=http://h\n", "GET prefs\n"},
                /* what a refused attempt asked for need not be said again */
                {"up --login-server=http://h --auth-key=k", "{\"BackendState\":\"NeedsLogin\",\"HaveNodeKey\":true}",
                        "{\"ControlURL\":\"http://h\",\"CorpDNS\":true,\"NetfilterMode\":2,\"AdvertiseTags\":[\"tag:foo\"],"
                        "\"Config\":{\"NodeID\":\"\"}}", bus_ok, 0, "", "", "\"AdvertiseTags\":null"},
                {"up --reset --login-server=http://h", "{\"BackendState\":\"Stopped\",\"HaveNodeKey\":true}",
                        "{\"ControlURL\":\"http://h\",\"ShieldsUp\":true}", bus_ok, 0, "", "", "\"ShieldsUp\":false"},
                /* a person has to act */
                {"up --login-server=http://h", "{\"BackendState\":\"NeedsLogin\"}", "{\"ControlURL\":\"\"}",
                        "{\"BrowseToURL\":\"http://h/register/1\"}\n{\"BrowseToURL\":\"http://h/register/1\"}\n{\"State\":6}\n", 0, "",
                        "\nTo authenticate, visit:\n\n\thttp://h/register/1\n\nSuccess.\n", "POST login-interactive"},
                {"up --login-server=http://h --json", "{\"BackendState\":\"NeedsLogin\"}", "{\"ControlURL\":\"\"}",
                        "{\"BrowseToURL\":\"http://h/register/1\"}\n{\"State\":6}\n", 0,
                        "{\n \"AuthURL\": \"http://h/register/1\",\n \"BackendState\": \"NeedsLogin\"\n}\n"
                        "{\n  \"BackendState\": \"Running\"\n}\n", "", NULL},
                {"up --login-server=http://h --auth-key=k", "{\"BackendState\":\"NeedsLogin\"}", "{\"ControlURL\":\"\"}",
                        "{\"State\":3}\n{\"State\":6}\n", 0, "", "needs the approval of an administrator:\n\n\thttp://h/admin\n", NULL},
                /* done, but not for long */
                {"up --login-server=http://h --auth-key=k", UNSAVED, "{\"ControlURL\":\"\"}", bus_ok, 0, "",
                        "Warning: the state file /s cannot be written: full\n", NULL},
                {"login --login-server=http://h --auth-key=k", UNSAVED, "{\"ControlURL\":\"\"}", bus_ok, 0, "",
                        "Warning: the state file /s cannot be written: full\n", NULL},
                {"set --hostname=x", UNSAVED, "{\"ControlURL\":\"\"}", bus_ok, 0, "",
                        "Warning: the state file /s cannot be written: full\n", "PATCH prefs"},
                /* refused, failing, gone */
                {"up --login-server=http://h --auth-key=k", "{\"BackendState\":\"NeedsLogin\"}", "{\"ControlURL\":\"\"}",
                        "{\"ErrMessage\":\"bad key\"}\n", 1, "", "backend error: bad key\n", NULL},
                {"up --login-server=http://h --auth-key=k", "{\"BackendState\":\"NeedsLogin\"}", "{\"ControlURL\":\"\"}",
                        "{\"LoginError\":\"refused\"}\n{\"LoginError\":\"refused\"}\n{\"State\":6}\n", 0, "",
                        "refused\ntrying again; Ctrl-C ends this\n", NULL},
                {"up --login-server=http://h --auth-key=k", "{\"BackendState\":\"NeedsLogin\"}", "{\"ControlURL\":\"\"}", "{\"State\":5}\n", 1,
                        "", "the daemon went away", NULL},
                /* --force-reauth: running already is not enough, the key must change */
                {"up --login-server=http://h --auth-key=k --force-reauth",
                        "{\"BackendState\":\"Running\",\"HaveNodeKey\":true,\"Self\":{\"PublicKey\":\"nodekey:1\"}}", "{\"ControlURL\":\"http://h\","
                        "\"CorpDNS\":true,\"NetfilterMode\":2}",
                        "{\"State\":6}\n{\"SelfChange\":{\"Key\":\"nodekey:1\"}}\n{\"SelfChange\":{\"Key\":\"nodekey:2\"}}\n", 0, "", "",
                        "POST login-interactive\n"},
                {"up --login-server=http://h --auth-key=k --force-reauth",
                        "{\"BackendState\":\"NeedsLogin\",\"HaveNodeKey\":true,\"Self\":{\"PublicKey\":\"nodekey:1\"}}", "{\"ControlURL\":\"http://h\","
                        "\"CorpDNS\":true,\"NetfilterMode\":2}",
                        "{\"State\":6}\n{\"SelfChange\":{\"Key\":\"nodekey:1\"}}\n{\"SelfChange\":{\"Key\":\"nodekey:2\"}}\n", 0, "", "",
                        "\"AuthKey\":\"k\"}\nPOST login-interactive\n"},
                /* login: a new profile first */
                {"login --login-server=http://h --auth-key=k --nickname=work", "{\"BackendState\":\"NeedsLogin\"}",
                        "{\"ControlURL\":\"\"}", bus_ok, 0, "", "", "PUT profiles/\nGET status?peers=false\n"},
                {"login --login-server=http://h --auth-key=k --nickname=work", "{\"BackendState\":\"NeedsLogin\"}",
                        "{\"ControlURL\":\"\"}", bus_ok, 0, "", "", "\"ProfileName\":\"work\""},
                /* what concerns the user at once, and what was not warned of already */
                {"up --login-server=http://h --auth-key=k", "{\"BackendState\":\"NeedsLogin\",\"Health\":[\"x\",\"peers are advertising routes: y\","
                        "\"advertising routes, but forwarding is off\"]}", "{\"ControlURL\":\"\"}", bus_ok, 0,
                        "peers are advertising routes: y\n", "", NULL},
                {"login --login-server=nonsense", "{}", "{}", bus_ok, 1, "", "must begin with", NULL},
                {"login --reset", "{}", "{}", bus_ok, 2, "", "not defined: -reset", NULL},
                {"up --nickname=x", "{}", "{}", bus_ok, 2, "", "not defined: -nickname", NULL},
        };
        unsetenv("USER");
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                /* Events before the client has asked for anything are not about it. */
                const char *after = strcmp(rows[i].line, "up") == 0 ? "PATCH " : "POST ";
                const struct fake_answer table[] = {
                        {"GET status?peers=false", 200, rows[i].status, false}, {"GET prefs", 200, rows[i].prefs, false},
                        {"PATCH prefs", 200, "{}", false}, {"POST start", 204, NULL, false},
                        {"POST login-interactive", 204, NULL, false}, {"PUT profiles/", 201, NULL, false},
                        {"GET watch-ipn-bus?mask=8192", 200, rows[i].bus, true, after}, {0}};
                fake_start(&d, table);
                run(rows[i].line);
                fake_stop(&d);
                if (said.code != rows[i].code)
                        fail_msg("row %zu: %s: exit %d, %s%s", i, rows[i].line, said.code, said.out, said.err);
                assert_string_equal(said.out, rows[i].out);
                if (rows[i].err[0] == '\0')
                        assert_string_equal(said.err, "");
                contains(said.err, rows[i].err);
                if (rows[i].asked != NULL)
                        contains(d.asked, rows[i].asked);
                if (strstr(rows[i].status, "HaveNodeKey") != NULL && strstr(rows[i].line, "--force-reauth") == NULL)
                        assert_null(strstr(d.asked, "login-interactive"));
        }
        contains(said.err, "usage: tailscale up");
}

static void up_gives_up_in_time(void **state)
{
        (void)state;
        const struct fake_answer table[] = {
                {"GET status?peers=false", 200, "{\"BackendState\":\"NeedsLogin\"}", false}, {"GET prefs", 200, "{\"ControlURL\":\"\"}", false},
                {"POST start", 204, NULL, false}, {"POST login-interactive", 204, NULL, false},
                {"GET watch-ipn-bus?mask=8192", 200, "hang", true}, {0}};
        fake_start(&d, table);
        mono_t start = mono_now();
        run("up --login-server=http://h --auth-key=k --timeout=300ms");
        assert_true(mono_diff_ms(mono_now(), start) < 5000);
        fake_stop(&d);
        assert_int_equal(said.code, 1);
        contains(said.err, "timeout waiting for Tailscale service to enter a Running state");
        contains(said.err, "http://h has not answered for 300ms");
        assert_null(strstr(d.asked, "POST"));   /* nothing is asked before the bus is there */
}

/* Nobody should look at a silent prompt for ever. */
static void up_says_what_it_waits_for(void **state)
{
        (void)state;
        static const struct {
                const char *state, *says;
        } rows[] = {
                {"Starting", "logged in, but no relay and no peer answers: see 'tailscale netcheck'\ntrying again; Ctrl-C ends this\n"},
                {"Stopped", "the login server http://h has not answered yet: check that it is running, and the network\n"
                        "trying again; Ctrl-C ends this\n"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char status[64];
                snprintf(status, sizeof(status), "{\"BackendState\":\"%s\"}", rows[i].state);
                const struct fake_answer table[] = {
                        {"GET status?peers=false", 200, status, false},
                        {"GET prefs", 200, "{\"ControlURL\":\"http://h\",\"Config\":{\"UserProfile\":{\"LoginName\":\"u\"}}}", false},
                        {"PATCH prefs", 200, "{}", false},
                        {"GET watch-ipn-bus?mask=8192", 200, "{\"State\":6}\n", true, "nothing: it comes late"}, {0}};
                fake_start(&d, table);
                run("up");
                fake_stop(&d);
                assert_int_equal(said.code, 0);
                assert_string_equal(said.err, rows[i].says);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(answers_come_as_they_are), cmocka_unit_test(no_daemon),
                cmocka_unit_test(daemon_hangs_up_unread),
                cmocka_unit_test(the_bus_is_read_line_by_line), cmocka_unit_test(commands_ask_and_say),
                cmocka_unit_test(peers_come_in_brief), cmocka_unit_test(json_has_the_peers_by_key),
                cmocka_unit_test(output_that_is_lost_is_no_success), cmocka_unit_test(error_answers_have_their_words), cmocka_unit_test(ups),
                cmocka_unit_test(up_gives_up_in_time), cmocka_unit_test(up_says_what_it_waits_for),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
