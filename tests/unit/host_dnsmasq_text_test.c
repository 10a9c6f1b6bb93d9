#include "tests/unit/check.h"

#include <stdlib.h>

#include "daemon/host/dnsmasq_text.h"
#include "daemon/host/osdns_dnsmasq.h"

#define ARGS(s) s, sizeof(s) /* with the last NUL, as in /proc */

static void arguments_are_read(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                size_t len;
                const char *file, *dir;
        } rows[] = {
                {ARGS("dnsmasq"), "/etc/dnsmasq.conf", ""},
                /* Debian */
                {ARGS("/usr/sbin/dnsmasq\0-x\0/run/dnsmasq/dnsmasq.pid\0-u\0dnsmasq\0-7\0"
                      "/etc/dnsmasq.d,.dpkg-dist,.dpkg-old,.dpkg-new\0--local-service"),
                 "/etc/dnsmasq.conf", "/etc/dnsmasq.d"},
                /* OpenWrt */
                {ARGS("/usr/sbin/dnsmasq\0-C\0/var/etc/dnsmasq.conf.cfg01411c\0-k\0-x\0/var/run/dnsmasq/"
                      "x.pid"),
                 "/var/etc/dnsmasq.conf.cfg01411c", ""},
                {ARGS("dnsmasq\0-C/x.conf\0--conf-dir=/tmp/dnsmasq.d/"), "/x.conf", "/tmp/dnsmasq.d"},
                {ARGS("dnsmasq\0--conf-file\0/y.conf\0--conf-dir\0/tmp/dnsmasq.cfg01411c.d"), "/y.conf",
                 "/tmp/dnsmasq.cfg01411c.d"},
                {ARGS("dnsmasq\0--conf-dir=/etc/dnsmasq.d,*.conf"), "/etc/dnsmasq.conf", "/etc/dnsmasq.d"},
                {ARGS("dnsmasq\0--conf-dir=/etc/dnsmasq.d,*.rules"), "/etc/dnsmasq.conf", ""},
                {ARGS("dnsmasq\0--conf-dir=/etc/dnsmasq.d,.conf"), "/etc/dnsmasq.conf", ""},
                /* NetworkManager, libvirt */
                {ARGS("dnsmasq\0--conf-file=/dev/null\0--conf-dir=/etc/NetworkManager/dnsmasq.d"),
                 "/dev/null", ""},
                {ARGS("dnsmasq\0--conf-file=/var/lib/libvirt/dnsmasq/default.conf\0--leasefile-ro"),
                 "/var/lib/libvirt/dnsmasq/default.conf", ""},
                {ARGS("dnsmasq\0-7"), "/etc/dnsmasq.conf", ""},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct dnsmasq_setup s;
                dnsmasq_read_args(rows[i].text, rows[i].len, &s);
                assert_string_equal(s.conf_file, rows[i].file);
                assert_string_equal(s.conf_dir, rows[i].dir);
        }
        for (size_t n = 0; n < rows[1].len; n++) {
                char *cut = malloc(n > 0 ? n : 1);
                struct dnsmasq_setup s;
                assert_non_null(cut);
                memcpy(cut, rows[1].text, n);
                dnsmasq_read_args(cut, n, &s);
                /* an argument counts once its end is there */
                bool whole = n >= rows[1].len - sizeof("--local-service");
                assert_string_equal(s.conf_dir, whole ? "/etc/dnsmasq.d" : "");
                free(cut);
        }
}

static void files_are_read(void **state)
{
        (void)state;
        static const struct {
                const char *text, *dir;
        } rows[] = {
                {"", ""},
                {"# auto-generated config\nport=53\nconf-dir=/tmp/dnsmasq.cfg01411c.d\nuser=dnsmasq\n",
                 "/tmp/dnsmasq.cfg01411c.d"},
                {"#conf-dir=/etc/dnsmasq.d\n", ""},
                {"  conf-dir = /etc/dnsmasq.d/,*.conf \r\n", "/etc/dnsmasq.d"},
                {"conf-dir=/tmp/dnsmasq.d", "/tmp/dnsmasq.d"},
                {"conf-dir=/a/dnsmasq.d\nconf-dir=/b/dnsmasq.d\n", "/a/dnsmasq.d"},
                {"conf-dir=\nconf-directory=/etc/dnsmasq.d\nconf-dir\n", ""},
                {"conf-dir=relative/dnsmasq.d\n", ""},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct dnsmasq_setup s = {0};
                dnsmasq_read_conf(rows[i].text, strlen(rows[i].text), &s);
                assert_string_equal(s.conf_dir, rows[i].dir);
                for (size_t n = 0; n <= strlen(rows[i].text); n++) {
                        char *cut = malloc(n > 0 ? n : 1);
                        struct dnsmasq_setup part = {0};
                        assert_non_null(cut);
                        memcpy(cut, rows[i].text, n);
                        dnsmasq_read_conf(cut, n, &part);
                        free(cut);
                }
        }
}

static void own_servers_are_seen(void **state)
{
        (void)state;
        static const struct {
                const char *conf;
                bool own;
        } rows[] = {
                {"port=53\nresolv-file=/tmp/resolv.conf.d/resolv.conf.auto\n", false},
                {"server=/corp.example/192.0.2.1\n", false},
                {"#server=192.0.2.1\n", false},
                {"server=192.0.2.1\n", true},
                {" server = 192.0.2.1#5353\n", true},
                {"server=//192.0.2.1\n", true}, /* names without a dot, whoever's they are */
                {"server=/#/192.0.2.1\n", true},
                {"servers-file=/run/x\n", false},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct dnsmasq_setup s = {0};
                dnsmasq_read_conf(rows[i].conf, strlen(rows[i].conf), &s);
                assert_int_equal(s.own_servers, rows[i].own);
        }
        struct dnsmasq_setup s;
        dnsmasq_read_args(ARGS("dnsmasq\0-S\0192.0.2.1"), &s);
        assert_true(s.own_servers);
        dnsmasq_read_args(ARGS("dnsmasq\0--server=/a.example/192.0.2.1"), &s);
        assert_false(s.own_servers);
}

static void snippet_is_written(void **state)
{
        (void)state;
        struct osdns_config c = {0};
        struct ip v6;
        struct buf b;
        buf_init(&b, 4096);
        assert_int_equal(ip_parse("fd7a:115c:a1e0::53", &v6), ERR_NONE);
        assert_int_equal(osdns_add_server(&c, ip_v4(100, 100, 100, 100)), ERR_NONE);
        assert_int_equal(osdns_add_server(&c, v6), ERR_NONE);
        assert_int_equal(osdns_names_add(&c.search, "mesh.example"), ERR_NONE);
        dnsmasq_write(&b, &c);
        assert_string_equal(b.data, DNSMASQ_MARK "\n"
                                                 "no-resolv\n"
                                                 "server=100.100.100.100\n"
                                                 "server=fd7a:115c:a1e0::53\n"
                                                 "rebind-domain-ok=/mesh.example/\n");
        buf_clear(&b);
        assert_int_equal(osdns_names_add(&c.match, "mesh.example"), ERR_NONE);
        assert_int_equal(osdns_names_add(&c.match, "64.100.in-addr.arpa"), ERR_NONE);
        dnsmasq_write(&b, &c);
        assert_string_equal(b.data, DNSMASQ_MARK "\n"
                                                 "server=/mesh.example/100.100.100.100\n"
                                                 "server=/mesh.example/fd7a:115c:a1e0::53\n"
                                                 "server=/64.100.in-addr.arpa/100.100.100.100\n"
                                                 "server=/64.100.in-addr.arpa/fd7a:115c:a1e0::53\n"
                                                 "rebind-domain-ok=/mesh.example/\n"
                                                 "rebind-domain-ok=/64.100.in-addr.arpa/\n");
        buf_done(&b);
        osdns_config_clear(&c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(arguments_are_read),
                cmocka_unit_test(files_are_read),
                cmocka_unit_test(own_servers_are_seen),
                cmocka_unit_test(snippet_is_written),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
