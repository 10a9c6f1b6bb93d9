/* What others have named reaches the terminal without control characters; JSON output as it was said. */
#include "cli/text.h"

#include "base/json.h"
#include "tests/unit/cli_fake_daemon.h"

static void clean_strings(void **state)
{
        (void)state;
        static const struct {
                const char *in, *out;
        } rows[] = {
                {"", ""}, {"a~ b", "a~ b"}, {"\x01\x1b[2J\x7f\t\r", "??[2J???"}, {"one\ntwo", "one two"},
                {"M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x98\x80", "M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x98\x80"},
                {"\xc2\x80\xc2\x9b" "31m\xc2\x9f\xc2\xa0", "??31m?\xc2\xa0"},
                {"\xff\x80\x9b", "???"}, {"\xc0\x9b\xc1\xbf", "????"}, {"\xe0\x82\x9b", "???"},
                {"\xed\xa0\x80", "???"}, {"\xf4\x90\x80\x80", "????"}, {"\xf5\x80\x80\x80", "????"},
                {"\xf0\x80\x80\x9b", "????"}, {"\xf4\x8f\xbf\xbf\xee\x80\x80", "\xf4\x8f\xbf\xbf\xee\x80\x80"},
                {"\xc3", "?"}, {"\xe2\x82", "??"}, {"\xf0\x9f\x98", "???"}, {"\xc2", "?"}, {"\xe2\x1b[", "??["},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char *s = strdup(rows[i].in);
                assert_non_null(s);
                text_clean(s);
                assert_string_equal(s, rows[i].out);
                free(s);
        }
        char lines[] = "cause\x1b\nwhat to do\n";
        text_clean_lines(lines);
        assert_string_equal(lines, "cause?\nwhat to do\n");
        char printed[64] = "";
        FILE *f = fmemopen(printed, sizeof(printed), "w");
        assert_non_null(f);
        text_print(f, "\t%s: %d\n", "a\x1b[2J\xff", 7);
        fclose(f);
        assert_string_equal(printed, "\ta?[2J?: 7\n");
        assert_true(text_is_clean("M\xc3\xbcller") && !text_is_clean("a\n") && !text_is_clean("\xff") && text_is_clean(""));
}

static void clean_json(void **state)
{
        (void)state;
        static const char in[] = "{\"a\":[\"\\u001b\",{\"b\\u009b\":\"x\\u007f\"},7,null],\"c\":\"\xc3\xbc\"}";
        json_t *j = json_parse(in, strlen(in));
        text_clean_json(j);
        char *text = json_dumps(j, JSON_COMPACT);
        assert_string_equal(text, "{\"a\":[\"?\",{\"b?\":\"x?\"},7,null],\"c\":\"\xc3\xbc\"}");
        free(text);
        json_decref(j);
        text_clean_json(NULL);
}

#define BAD "\\u001b\\u0007\\u007f\\u009b"
#define NODE "\"TailscaleIPs\":[\"100.64.0.2\",\"fd7a::2" BAD "\"],\"DNSName\":\"db" BAD ".x.\",\"HostName\":\"db" BAD "\"," \
             "\"OS\":\"linux" BAD "\",\"UserID\":5,\"Relay\":\"r" BAD "\",\"Active\":true,\"ExitNodeOption\":true," \
             "\"Location\":{\"Country\":\"c" BAD "\",\"City\":\"t" BAD "\"}"
#define HEAD   "{\"BackendState\":\"Running\",\"MagicDNSSuffix\":\"x\",\"TailscaleIPs\":[\"100.64.0.1" BAD "\"]," \
               "\"CurrentTailnet\":{\"MagicDNSEnabled\":true,\"MagicDNSSuffix\":\"x" BAD "\"}," \
               "\"Self\":{" NODE "},\"Health\":[\"h" BAD "\"],"
#define STATUS HEAD "\"User\":{\"5\":{\"LoginName\":\"u" BAD "@\"}},\"Peer\":{\"k\":{" NODE "}}}"
#define BRIEF  HEAD "\"Peers\":[{\"LoginName\":\"u" BAD "@\"," NODE "}]}"
#define PROFILE "{\"ID\":\"p" BAD "\",\"Name\":\"n" BAD "\",\"NetworkProfile\":{\"DisplayName\":\"d" BAD "\"}}"

static const struct fake_answer table[] = {
        {"GET status", 200, STATUS, false}, {"GET status?brief=true", 200, BRIEF, false}, {"GET status?peers=false", 200, STATUS, false},
        {"GET prefs", 200, "{\"CorpDNS\":true}", false},
        {"GET whois?addr=100.64.0.2&proto=tcp", 200, "{\"Node\":{\"Name\":\"db" BAD ".x.\",\"StableID\":\"s" BAD "\","
                "\"Addresses\":[\"a" BAD "\"]},\"UserProfile\":{\"LoginName\":\"u" BAD "\"},\"CapMap\":{\"c" BAD "\":null}}", false},
        {"GET whois?addr=100.64.0.3&proto=tcp", 500, "no\x1b\xc2\x9b[such\n", false},
        {"POST ping?ip=100.64.0.2&type=disco&size=0", 200, "{\"NodeName\":\"db" BAD "\",\"NodeIP\":\"i" BAD "\","
                "\"Endpoint\":\"e" BAD "\",\"LatencySeconds\":0.1}", false},
        {"POST ping?ip=100.64.0.3&type=disco&size=0", 200, "{\"Err\":\"e" BAD "\"}", false},
        {"GET profiles/current", 200, PROFILE, false}, {"GET profiles/", 200, "[" PROFILE "]", false},
        {"GET dns-config", 200, "{\"Resolvers\":[{\"Addr\":\"r" BAD "\"}],\"Routes\":{\"s" BAD "\":[{\"Addr\":\"q" BAD "\"}]},"
                "\"Domains\":[\"d" BAD "\"]}", false},
        {"GET dns-osconfig", 200, "{\"Nameservers\":[\"n" BAD "\"],\"SearchDomains\":[\"z" BAD "\"]}", false},
        {"GET dns-query?name=x&type=A", 200, "{\"Bytes\":\"AACAAAABAAAAAAAAAXgAAAEAAQ==\",\"Resolvers\":[{\"Addr\":\"r" BAD "\"}]}", false},
        {0}};

static void only_printable(const char *line, const char *s)
{
        for (const unsigned char *p = (const unsigned char *)s; *p != '\0'; p++)
                if ((*p < ' ' && *p != '\n' && *p != '\t') || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
                        fail_msg("%s: byte %02x behind \"%.*s\"", line, *p, (int)(p - (const unsigned char *)s), s);
}

static void commands_print_clean(void **state)
{
        (void)state;
        static const struct {
                const char *line;
                bool marked;   /* something was replaced on its way to standard output, else to standard error */
        } rows[] = {{"status", true}, {"whois 100.64.0.2", true}, {"whois 100.64.0.3", false}, {"ping -c 1 100.64.0.2", true},
                {"ping -c 1 100.64.0.3", false}, {"exit-node list", true}, {"switch --list", true}, {"ip", true},
                {"ip 100.64.0.2", true}, {"dns status --all", true}, {"dns query x", true}};
        struct fake_daemon d;
        struct said said;
        fake_start(&d, table);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                fake_cli(d.path, rows[i].line, &said);
                only_printable(rows[i].line, said.out);
                only_printable(rows[i].line, said.err);
                if (strchr(rows[i].marked ? said.out : said.err, '?') == NULL)
                        fail_msg("%s: \"%s\" \"%s\"", rows[i].line, said.out, said.err);
        }
        fake_stop(&d);
}

static void json_stays_as_it_is(void **state)
{
        (void)state;
        static const char *const lines[] = {"status --json", "whois --json 100.64.0.2", "switch --list --json", "dns status --json",
                "dns query --json x"};
        struct fake_daemon d;
        struct said said;
        fake_start(&d, table);
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                fake_cli(d.path, lines[i], &said);
                assert_int_equal(said.code, 0);
                assert_non_null(strstr(said.out, "\\u001B\\u0007\x7f\xc2\x9b"));
        }
        fake_stop(&d);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(clean_strings), cmocka_unit_test(clean_json), cmocka_unit_test(commands_print_clean),
                cmocka_unit_test(json_stays_as_it_is),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
