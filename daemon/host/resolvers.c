#include "daemon/host/resolvers.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

size_t resolvers_parse(const char *text, struct ip out[RESOLVERS_MAX], size_t n)
{
        for (const char *line = text; *line != '\0'; line += strcspn(line, "\n"), line += *line != '\0') {
                char word[IP_STR_MAX + 16];
                struct ip ip;
                if (n == RESOLVERS_MAX)
                        break;
                if (strncmp(line, "nameserver", 10) != 0 || sscanf(line + 10, "%*[ \t]%60[^ \t\r\n%]", word) != 1)
                        continue;
                if (ip_parse(word, &ip) == ERR_NONE && !ip_is_loopback(ip) && !ip_is_unspecified(ip) && !ip_is_tailnet(ip))
                        out[n++] = ip;
        }
        return n;
}

static size_t read_file(const char *path, struct ip out[RESOLVERS_MAX], size_t n)
{
        char text[8192];
        (void)file_head(path, text, sizeof(text));
        return resolvers_parse(text, out, n);
}

size_t resolvers_read(struct ip out[RESOLVERS_MAX])
{
        size_t n = read_file("/etc/resolv.conf", out, 0);
        return n > 0 ? n : read_file("/run/systemd/resolve/resolv.conf", out, 0);
}
