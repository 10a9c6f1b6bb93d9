#include "tests/unit/check.h"

#include <stdlib.h>

#include "daemon/host/osdns_decide.h"

#define NM(a, b, c, r)                                                                                       \
        {                                                                                                    \
                .answers = true, .uses_resolved = r, .major = a, .minor = b, .micro = c                      \
        }

static void the_table_holds(void **state)
{
        (void)state;
        static const struct {
                const char *what;
                struct osdns_facts f;
                enum osdns_mode current, want;
                bool note;
        } rows[] = {
                {"plain file", {0}, OSDNS_MODE_UNKNOWN, OSDNS_MODE_DIRECT, false},
                {"resolved is there, the file is nobody's",
                 {.resolved_answers = true, .nss_resolve = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DIRECT,
                 false},
                {"resolved, stub",
                 {.owner = RESOLV_OWNER_RESOLVED, .only_stub = true, .resolved_answers = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_RESOLVED,
                 false},
                {"resolved, uplink file, asked by libc",
                 {.owner = RESOLV_OWNER_RESOLVED, .nss_resolve = true, .resolved_answers = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_RESOLVED,
                 false},
                {"resolved wrote the file, nobody asks it",
                 {.owner = RESOLV_OWNER_RESOLVED, .resolved_answers = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DIRECT,
                 false},
                {"resolved is silent at start",
                 {.owner = RESOLV_OWNER_RESOLVED, .only_stub = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DIRECT,
                 true},
                {"resolved restarts",
                 {.owner = RESOLV_OWNER_RESOLVED, .only_stub = true},
                 OSDNS_MODE_RESOLVED,
                 OSDNS_MODE_RESOLVED,
                 false},
                {"resolved comes up later",
                 {.owner = RESOLV_OWNER_RESOLVED, .only_stub = true, .resolved_answers = true},
                 OSDNS_MODE_DIRECT,
                 OSDNS_MODE_RESOLVED,
                 false},
                {"resolved under NetworkManager",
                 {.owner = RESOLV_OWNER_RESOLVED,
                  .only_stub = true,
                  .resolved_answers = true,
                  .nm = NM(1, 42, 4, true)},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_RESOLVED,
                 false},
                {"resolved under a broken NetworkManager",
                 {.owner = RESOLV_OWNER_RESOLVED,
                  .only_stub = true,
                  .resolved_answers = true,
                  .nm = NM(1, 26, 0, true)},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_NM,
                 false},
                {"the last broken NetworkManager",
                 {.owner = RESOLV_OWNER_RESOLVED,
                  .only_stub = true,
                  .resolved_answers = true,
                  .nm = NM(1, 26, 5, true)},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_NM,
                 false},
                {"the first mended NetworkManager",
                 {.owner = RESOLV_OWNER_RESOLVED,
                  .only_stub = true,
                  .resolved_answers = true,
                  .nm = NM(1, 26, 6, true)},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_RESOLVED,
                 false},
                {"a broken NetworkManager that leaves resolved alone",
                 {.owner = RESOLV_OWNER_RESOLVED,
                  .only_stub = true,
                  .resolved_answers = true,
                  .nm = NM(1, 26, 2, false)},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_RESOLVED,
                 false},
                {"NetworkManager alone",
                 {.owner = RESOLV_OWNER_NETWORKMANAGER, .nm = NM(1, 42, 4, false)},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DIRECT,
                 false},
                {"NetworkManager's file, resolved asked, NetworkManager gone",
                 {.owner = RESOLV_OWNER_NETWORKMANAGER, .nss_resolve = true, .resolved_answers = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_RESOLVED,
                 false},
                {"NetworkManager's file, resolved asked, NetworkManager does not use it",
                 {.owner = RESOLV_OWNER_NETWORKMANAGER,
                  .nss_resolve = true,
                  .resolved_answers = true,
                  .nm = NM(1, 42, 4, false)},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DIRECT,
                 false},
                {"NetworkManager's file, resolved asked and used by a version that overrides it",
                 {.owner = RESOLV_OWNER_NETWORKMANAGER,
                  .only_stub = true,
                  .resolved_answers = true,
                  .nm = NM(1, 26, 4, true)},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_NM,
                 false},
                {"NetworkManager's file, resolved asked and used",
                 {.owner = RESOLV_OWNER_NETWORKMANAGER,
                  .only_stub = true,
                  .resolved_answers = true,
                  .nm = NM(1, 42, 4, true)},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_RESOLVED,
                 true},
                {"Debian's resolvconf",
                 {.owner = RESOLV_OWNER_RESOLVCONF, .resolvconf = RESOLVCONF_DEBIAN},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DEBIAN,
                 false},
                {"openresolv",
                 {.owner = RESOLV_OWNER_RESOLVCONF, .resolvconf = RESOLVCONF_OPENRESOLV},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_OPENRESOLV,
                 false},
                {"Debian's resolvconf, whose head names resolved",
                 {.owner = RESOLV_OWNER_RESOLVED, .resolvconf_signed = true, .resolvconf = RESOLVCONF_DEBIAN},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DEBIAN,
                 false},
                {"the same, and it hands out resolved's address",
                 {.owner = RESOLV_OWNER_RESOLVED,
                  .resolvconf_signed = true,
                  .only_stub = true,
                  .resolved_answers = true,
                  .resolvconf = RESOLVCONF_DEBIAN},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_RESOLVED,
                 false},
                {"openresolv with such a head",
                 {.owner = RESOLV_OWNER_RESOLVED,
                  .resolvconf_signed = true,
                  .resolvconf = RESOLVCONF_OPENRESOLV},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_OPENRESOLV,
                 false},
                {"such a head, resolvconf was removed",
                 {.owner = RESOLV_OWNER_RESOLVED, .resolvconf_signed = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DIRECT,
                 false},
                {"resolvconf was removed",
                 {.owner = RESOLV_OWNER_RESOLVCONF},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DIRECT,
                 false},
                {"resolvectl by that name",
                 {.owner = RESOLV_OWNER_RESOLVCONF,
                  .resolvconf = RESOLVCONF_RESOLVECTL,
                  .nss_resolve = true,
                  .resolved_answers = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_RESOLVED,
                 false},
                {"resolvectl by that name, nobody asks resolved",
                 {.owner = RESOLV_OWNER_RESOLVCONF,
                  .resolvconf = RESOLVCONF_RESOLVECTL,
                  .resolved_answers = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DIRECT,
                 false},
                {"dnsmasq",
                 {.only_loopback = true, .dnsmasq_usable = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DNSMASQ,
                 false},
                {"dnsmasq runs, but is not asked",
                 {.dnsmasq_usable = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DIRECT,
                 false},
                {"another local resolver",
                 {.only_loopback = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DIRECT,
                 false},
                {"dnsmasq behind resolvconf",
                 {.owner = RESOLV_OWNER_RESOLVCONF,
                  .resolvconf = RESOLVCONF_DEBIAN,
                  .only_loopback = true,
                  .dnsmasq_usable = true},
                 OSDNS_MODE_UNKNOWN,
                 OSDNS_MODE_DEBIAN,
                 false},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                const char *note = "unset";
                enum osdns_mode got = osdns_decide(&rows[i].f, rows[i].current, &note);
                if (got != rows[i].want || (note != NULL) != rows[i].note)
                        fail_msg("%s: %s, %s", rows[i].what, osdns_mode_str(got),
                                 note != NULL ? note : "no note");
        }
}

static void nsswitch_is_read(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                bool asks;
        } rows[] = {
                {"", false},
                {"hosts: files dns\n", false},
                {"hosts: files resolve [!UNAVAIL=return] dns\n", true},
                {"hosts:resolve", true},
                {"hosts:\tfiles\tdns resolve\n", false},
                {"  hosts:  resolve dns # comment\n", true},
                {"# hosts: resolve\n", false},
                {"hosts: files # resolve\n", false},
                {"hosts: files resolved dns\n", false},
                {"passwd: resolve\nhosts: files mymachines resolve dns\n", true},
                {"xhosts: resolve\n", false},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                if (nsswitch_asks_resolved(rows[i].text, strlen(rows[i].text)) != rows[i].asks)
                        fail_msg("%s", rows[i].text);
        static const char text[] = "passwd: files\nhosts: files resolve dns\n";
        for (size_t n = 0; n < sizeof(text); n++) {
                char *cut = malloc(n > 0 ? n : 1);
                assert_non_null(cut);
                memcpy(cut, text, n);
                assert_int_equal(nsswitch_asks_resolved(cut, n), n >= 34);
                free(cut);
        }
}

static void versions_are_read(void **state)
{
        (void)state;
        struct nm_facts nm = {0};
        assert_true(nm_parse_version("1.42.4", &nm));
        assert_int_equal(nm.minor, 42);
        assert_true(nm_parse_version("1.26.0-12.el8", &nm));
        assert_int_equal(nm.micro, 0);
        assert_false(nm_parse_version("1.26", &nm));
        assert_false(nm_parse_version("", &nm));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_table_holds),
                cmocka_unit_test(nsswitch_is_read),
                cmocka_unit_test(versions_are_read),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
