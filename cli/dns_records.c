#include "cli/dns_records.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <resolv.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

static const struct {
        int type;
        const char *name;
} types[] = {
        {ns_t_a, "TypeA"}, {ns_t_ns, "TypeNS"}, {ns_t_cname, "TypeCNAME"}, {ns_t_soa, "TypeSOA"},
        {ns_t_ptr, "TypePTR"}, {ns_t_mx, "TypeMX"}, {ns_t_txt, "TypeTXT"}, {ns_t_aaaa, "TypeAAAA"},
        {ns_t_srv, "TypeSRV"}, {ns_t_hinfo, "TypeHINFO"}, {ns_t_opt, "TypeOPT"},
};

static const char *type_name(int type, char out[16])
{
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
                if (types[i].type == type)
                        return types[i].name;
        snprintf(out, 16, "%d", type);
        return out;
}

static const char *class_name(int class, char out[16])
{
        if (class == ns_c_in)
                return "ClassINET";
        if (class == ns_c_chaos)
                return "ClassCHAOS";
        snprintf(out, 16, "%d", class);
        return out;
}

static const char *rcode_name(int rcode, char out[16])
{
        static const char *const names[] = {"RCodeSuccess", "RCodeFormatError", "RCodeServerFailure", "RCodeNameError",
                "RCodeNotImplemented", "RCodeRefused"};
        if (rcode >= 0 && rcode < 6)
                return names[rcode];
        snprintf(out, 16, "%d", rcode);
        return out;
}

/* The name at p, which may be compressed, with its final dot; false: malformed. */
static bool add_name(struct buf *b, const ns_msg *m, const unsigned char *p)
{
        char name[NS_MAXDNAME];
        if (ns_name_uncompress(ns_msg_base(*m), ns_msg_end(*m), p, name, sizeof(name)) < 0)
                return false;
        size_t n = strlen(name);
        buf_printf(b, "%s%s", name, n > 0 && name[n - 1] == '.' ? "" : ".");
        return true;
}

static bool add_texts(struct buf *b, const unsigned char *p, size_t n)
{
        buf_puts(b, "[");
        for (size_t at = 0; at < n; at += 1u + p[at]) {
                if (at + 1u + p[at] > n)
                        return false;
                buf_puts(b, at > 0 ? " \"" : "\"");
                for (size_t i = 1; i <= p[at]; i++) {
                        unsigned char c = p[at + i];
                        if (c == '"' || c == '\\')
                                buf_printf(b, "\\%c", c);
                        else if (c >= ' ' && c < 127)
                                buf_printf(b, "%c", c);
                        else
                                buf_printf(b, "\\x%02x", c);
                }
                buf_puts(b, "\"");
        }
        buf_puts(b, "]");
        return true;
}

static bool add_soa(struct buf *b, const ns_msg *m, const unsigned char *p, const unsigned char *end)
{
        for (int i = 0; i < 2; i++) {
                int used = dn_skipname(p, end);
                if (used < 0 || !add_name(b, m, p))
                        return false;
                p += used;
                buf_puts(b, " ");
        }
        for (int i = 0; i < 5; i++, p += 4) {
                if (end - p < 4)
                        return false;
                buf_printf(b, "%s%lu", i > 0 ? " " : "", ns_get32(p));
        }
        return true;
}

static bool add_body(struct buf *b, const ns_msg *m, const ns_rr *rr)
{
        const unsigned char *p = ns_rr_rdata(*rr);
        size_t n = ns_rr_rdlen(*rr);
        char text[INET6_ADDRSTRLEN];
        switch ((int)ns_rr_type(*rr)) {
        case ns_t_a:
                if (n != 4)
                        return false;
                buf_puts(b, inet_ntop(AF_INET, p, text, sizeof(text)));
                return true;
        case ns_t_aaaa:
                if (n != 16)
                        return false;
                buf_puts(b, inet_ntop(AF_INET6, p, text, sizeof(text)));
                return true;
        case ns_t_cname:
        case ns_t_ns:
        case ns_t_ptr:
                return n > 0 && add_name(b, m, p);
        case ns_t_mx:
                if (n < 3 || !add_name(b, m, p + 2))
                        return false;
                buf_printf(b, " (Priority=%u)", ns_get16(p));
                return true;
        case ns_t_srv:
                buf_puts(b, "Target=");
                if (n < 7 || !add_name(b, m, p + 6))
                        return false;
                buf_printf(b, ", Port=%u, Priority=%u, Weight=%u", ns_get16(p + 4), ns_get16(p), ns_get16(p + 2));
                return true;
        case ns_t_txt:
                return add_texts(b, p, n);
        case ns_t_soa:
                return add_soa(b, m, p, p + n);
        default:
                for (size_t i = 0; i < n; i++)
                        buf_printf(b, "%02x", p[i]);
                return true;
        }
}

static json_t *record_json(const ns_msg *m, const ns_rr *rr)
{
        char type[16], class[16];
        struct buf name, body;
        buf_init(&name, 4096);
        buf_init(&body, 1 << 18);
        buf_printf(&name, "%s%s", ns_rr_name(*rr), strcmp(ns_rr_name(*rr), ".") == 0 ? "" : ".");
        json_t *o = NULL;
        if (add_body(&body, m, rr) && buf_ok(&body))
                o = json_pack("{s:s, s:I, s:s, s:s, s:s}", "Name", name.data, "TTL", (json_int_t)ns_rr_ttl(*rr), "Class",
                        class_name((int)ns_rr_class(*rr), class), "Type", type_name((int)ns_rr_type(*rr), type), "Body",
                        body.data != NULL ? body.data : "");
        buf_done(&name);
        buf_done(&body);
        return o;
}

json_t *dns_records_json(const uint8_t *msg, size_t len)
{
        ns_msg m;
        char rcode[16];
        if (ns_initparse(msg, (int)len, &m) < 0)
                return NULL;
        int code = (int)ns_msg_getflag(m, ns_f_rcode);
        json_t *o = json_object();
        json_object_set_new(o, "ResponseCode", json_string(rcode_name(code, rcode)));
        if (code != ns_r_noerror)
                return o;
        json_t *answers = json_array();
        json_object_set_new(o, "Answers", answers);
        for (int i = 0; i < ns_msg_count(m, ns_s_an); i++) {
                ns_rr rr;
                json_t *rec = ns_parserr(&m, ns_s_an, i, &rr) == 0 ? record_json(&m, &rr) : NULL;
                if (rec == NULL) {
                        json_decref(o);
                        return NULL;
                }
                json_array_append_new(answers, rec);
        }
        return o;
}
