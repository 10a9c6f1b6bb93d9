#include "daemon/control/c2n.h"

#include <string.h>

static void respond(struct buf *out, const char *status, const char *body, size_t len)
{
        buf_printf(out, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", status, len);
        buf_add(out, body, len);
}

enum err c2n_answer(const char *request, size_t len, struct buf *out)
{
        const char *end = memmem(request, len, "\r\n\r\n", 4);
        const char *path = memchr(request, ' ', len);
        if (end == NULL || path == NULL || path > end)
                return ERR_FORMAT;
        path++;
        size_t n = 0;
        while (path + n < end && strchr(" ?\r\n", path[n]) == NULL)
                n++;
        const char *body = end + 4;
        if (n == 5 && memcmp(path, "/echo", 5) == 0)
                respond(out, "200 OK", body, len - (size_t)(body - request));
        else
                respond(out, "400 Bad Request", "unknown c2n path\n", 17);
        return buf_ok(out) ? ERR_NONE : ERR_FULL;
}
