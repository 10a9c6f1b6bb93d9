/* Registration: the request's JSON, every form of answer, error texts of the servers there are, Retry-After. */
#include "daemon/control/register.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mono.h"

static const char OK[] =
        "{\"User\":{\"ID\":1,\"DisplayName\":\"alice\",\"Created\":\"2026-01-02T03:04:05.123456789Z\"},"
        "\"Login\":{\"ID\":1,"
        "\"Provider\":\"\",\"LoginName\":\"alice@x\",\"DisplayName\":\"Alice\"},\"NodeKeyExpired\":false,"
        "\"MachineAuthorized\":true,\"AuthURL\":\"\",\"NodeKeySignature\":null,\"Error\":\"\"}\n";
static const char VISIT[] =
        "{\"User\":{\"ID\":0},\"Login\":{\"ID\":0},\"NodeKeyExpired\":false,\"MachineAuthorized\":false,"
        "\"AuthURL\":"
        "\"https://hs.example.org/register/"
        "hskey-authreq-0123456789abcdef01234567\",\"NodeKeySignature\":null,\"Error\":\"\"}";

static struct register_answer parse(const char *text)
{
        struct register_answer a;
        assert_int_equal(register_parse(text, strlen(text), &a), ERR_NONE);
        return a;
}

static void test_answers(void **state)
{
        (void)state;
        struct register_answer a = parse(OK);
        assert_int_equal(a.outcome, REGISTER_OK);
        assert_int_equal(a.user_id, 1);
        assert_string_equal(a.login_name, "alice@x");
        assert_string_equal(a.display_name, "Alice");
        assert_true(a.machine_authorized);

        a = parse(VISIT);
        assert_int_equal(a.outcome, REGISTER_VISIT);
        assert_string_equal(a.auth_url,
                            "https://hs.example.org/register/hskey-authreq-0123456789abcdef01234567");

        assert_int_equal(parse("{\"NodeKeyExpired\":true}").outcome, REGISTER_KEY_EXPIRED);
        /* An error outweighs everything, then the signature, then expiry, then the URL. */
        assert_int_equal(
                parse("{\"Error\":\"no\",\"NodeKeyExpired\":true,\"AuthURL\":\"https://x\"}").outcome,
                REGISTER_ERROR);
        assert_int_equal(parse("{\"NodeKeySignature\":\"eA==\",\"NodeKeyExpired\":true}").outcome,
                         REGISTER_SIGNATURE);
        assert_int_equal(parse("{\"NodeKeyExpired\":true,\"AuthURL\":\"https://x\"}").outcome,
                         REGISTER_KEY_EXPIRED);
        assert_int_equal(parse("{}").outcome, REGISTER_OK);
        assert_string_equal(parse("{\"Error\":\"a\\u001b[2Jb\"}").error, "a?[2Jb");
        assert_int_equal(parse("{\"User\":{\"ID\":2147455555}}").user_id, 2147455555);
}

static void test_damage(void **state)
{
        (void)state;
        struct register_answer a;
        for (size_t n = 0; n < sizeof(OK) - 2; n++)
                assert_int_equal(register_parse(OK, n, &a), ERR_FORMAT);
        for (size_t n = 0; n < sizeof(VISIT) - 1; n++)
                assert_int_equal(register_parse(VISIT, n, &a), ERR_FORMAT);
        assert_int_equal(register_parse("[]", 2, &a), ERR_FORMAT);
        char *big = malloc(4096);
        size_t n = (size_t)snprintf(big, 4096, "{\"AuthURL\":\"https://%02000d\"}", 1);
        assert_int_equal(register_parse(big, n, &a), ERR_FORMAT);
        free(big);
}

static void test_request(void **state)
{
        (void)state;
        json_t *host = json_pack("{s:s}", "Hostname", "alpha");
        struct register_request rq = {
                .version = 138,
                .node_key = {{0xaa}},
                .auth_key = "k",
                .expiry_ns = REGISTER_LOGOUT_NS,
                .hostinfo = host,
        };
        char *text = register_build(&rq);
        json_t *o = json_parse(text, strlen(text));
        assert_int_equal(json_int(o, "Version", 0), 138);
        assert_string_equal(json_str(o, "NodeKey", ""),
                            "nodekey:aa00000000000000000000000000000000000000000000000000000000000000");
        assert_false(json_has(o, "OldNodeKey"));
        assert_false(json_has(o, "Followup"));
        assert_false(json_has(o, "Ephemeral"));
        assert_string_equal(json_str(json_obj(o, "Auth"), "AuthKey", ""), "k");
        assert_string_equal(json_str(o, "Expiry", ""), "1970-01-01T00:02:03Z");
        assert_string_equal(json_str(json_obj(o, "Hostinfo"), "Hostname", ""), "alpha");
        json_decref(o);
        free(text);

        rq = (struct register_request){
                .node_key = {{1}},
                .old_node_key = {{2}},
                .followup = "https://x",
                .ephemeral = true,
                .auth_key = "",
        };
        text = register_build(&rq);
        o = json_parse(text, strlen(text));
        assert_true(json_has(o, "OldNodeKey"));
        assert_string_equal(json_str(o, "Followup", ""), "https://x");
        assert_true(json_bool(o, "Ephemeral", false));
        assert_false(json_has(o, "Auth"));
        assert_false(json_has(o, "Expiry"));
        assert_true(json_has(o, "Hostinfo")); /* some servers break off without it */
        json_decref(o);
        free(text);
        json_decref(host);
}

static void test_trim(void **state)
{
        (void)state;
        char out[16];
        assert_int_equal(register_trim_key("  key-1 \r\n", out, sizeof(out)), ERR_NONE);
        assert_string_equal(out, "key-1");
        assert_int_equal(register_trim_key("key--TLabc", out, sizeof(out)), ERR_NONE);
        assert_string_equal(out, "key");
        assert_int_equal(register_trim_key(" \n", out, sizeof(out)), ERR_NONE);
        assert_string_equal(out, "");
        assert_int_equal(register_trim_key("0123456789abcdef", out, sizeof(out)), ERR_FULL);
}

static void test_faults(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                enum register_fault fault;
        } ROWS[] = {
                {"invalid pre auth key", REGISTER_FAULT_KEY_BAD},
                {"invalid authkey", REGISTER_FAULT_KEY_BAD},
                {"authkey expired", REGISTER_FAULT_KEY_EXPIRED},
                {"authkey already used", REGISTER_FAULT_KEY_USED},
                {"authkey revoked", REGISTER_FAULT_KEY_EXPIRED},
                {"handling register with auth key: failed to parse auth-key: key too short, expected at "
                 "least 77 chars "
                 "after prefix, got 3",
                 REGISTER_FAULT_KEY_BAD},
                {"handling register with auth key: invalid auth key: crypto/bcrypt: hashedPassword is not "
                 "the hash of "
                 "the given password",
                 REGISTER_FAULT_KEY_BAD},
                {"handling register with auth key: creating new node: requested tags [tag:x] are invalid or "
                 "not "
                 "permitted",
                 REGISTER_FAULT_TAGS},
                {"handling register with auth key: creating new node: node key already in use by another "
                 "machine",
                 REGISTER_FAULT_MIXED},
                {"node exists with a different machine key", REGISTER_FAULT_MIXED},
                {"node exist with different machine key", REGISTER_FAULT_MIXED},
                {"extending key is not allowed", REGISTER_FAULT_OTHER},
                {"registration timed out", REGISTER_FAULT_OTHER},
        };
        for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++)
                assert_int_equal(register_fault_of(ROWS[i].text), ROWS[i].fault);
}

static void test_retry_after(void **state)
{
        (void)state;
        int64_t wall = INT64_C(1795415900) * NS_PER_SEC; /* Mon, 23 Nov 2026 06:38:20 GMT */
        assert_int_equal(register_retry_ms("7", wall, 0), 7000);
        assert_int_equal(register_retry_ms("Mon, 23 Nov 2026 06:39:20 GMT", wall, 0), 60000);
        static const char *const ODD[] = {
                "", "x", "0", "-3", "3601", "99999999999999999999", "Mon, 23 Nov 2020 06:39:20 GMT"};
        for (size_t i = 0; i < sizeof(ODD) / sizeof(ODD[0]); i++) {
                assert_int_equal(register_retry_ms(ODD[i], wall, 0), 5000);
                assert_int_equal(register_retry_ms(ODD[i], wall, 4999), 9999);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answers), cmocka_unit_test(test_damage),
                cmocka_unit_test(test_request), cmocka_unit_test(test_trim),
                cmocka_unit_test(test_faults),  cmocka_unit_test(test_retry_after),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
