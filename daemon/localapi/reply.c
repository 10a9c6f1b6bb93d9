#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/localapi/request.h"

void lapi_answer(struct lapi_req *r, int status, const char *type, struct MHD_Response *resp)
{
        const struct lapi_ops *ops = lapi_req_ops(r);
        char cap[16];
        snprintf(cap, sizeof(cap), "%d", ops->cap_version);
        if (resp != NULL) {
                if (type != NULL)
                        MHD_add_response_header(resp, "Content-Type", type);
                MHD_add_response_header(resp, "Tailscale-Version", ops->version);
                MHD_add_response_header(resp, "Tailscale-Cap", cap);
                httpd_add_guards(resp);
        }
        r->on_gone = NULL;
        loop_unwatch(&r->watch);
        httpd_answer(&r->http, (unsigned)status, resp);
}

void lapi_reply_body(struct lapi_req *r, int status, const char *content_type, const char *text)
{
        struct MHD_Response *resp =
                MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
        lapi_answer(r, status, content_type, resp);
}

void lapi_reply_text(struct lapi_req *r, int status, const char *fmt, ...)
{
        struct buf b;
        va_list ap;
        buf_init(&b, 8192);
        va_start(ap, fmt);
        buf_vprintf(&b, fmt, ap);
        va_end(ap);
        buf_puts(&b, "\n");
        lapi_reply_body(r, status, "text/plain; charset=utf-8", b.data != NULL ? b.data : "\n");
        buf_done(&b);
}

void lapi_reply_empty(struct lapi_req *r, int status)
{
        lapi_reply_body(r, status, NULL, "");
}

void lapi_reply_headers(struct lapi_req *r, int status, const char *const headers[][2], size_t n)
{
        struct MHD_Response *resp = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        for (size_t i = 0; resp != NULL && i < n; i++)
                MHD_add_response_header(resp, headers[i][0], headers[i][1]);
        lapi_answer(r, status, NULL, resp);
}

/* jansson indents with blanks; the reference with tabs.  A line's leading blanks are never inside a string. */
static void to_tabs(struct buf *out, const char *text)
{
        bool start = true;
        for (; *text != '\0'; text++) {
                buf_add(out, start && *text == ' ' ? "\t" : text, 1);
                start = *text == '\n' || (start && *text == ' ');
        }
}

void lapi_reply_json(struct lapi_req *r, int status, json_t *v, enum lapi_json style)
{
        json_t *j = v != NULL ? v : json_null();
        size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(15);   /* 0.1 is 0.1 */
        char *text = json_dumps(j, flags | (style == LAPI_COMPACT ? JSON_COMPACT : JSON_INDENT(1)));
        json_decref(j);
        if (text == NULL) {
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        struct buf b;
        buf_init(&b, 512 << 20);
        if (style == LAPI_COMPACT)
                buf_puts(&b, text);
        else
                to_tabs(&b, text);
        if (style != LAPI_TABS_NO_NEWLINE)
                buf_puts(&b, "\n");
        free(text);
        if (buf_ok(&b))
                lapi_reply_body(r, status, "application/json", b.data);
        else
                lapi_reply_text(r, 500, "out of memory");
        buf_done(&b);
}

void lapi_reply_error(struct lapi_req *r, const char *text)
{
        lapi_reply_json(r, 500, json_pack("{s:s}", "error", text), LAPI_COMPACT);
}
