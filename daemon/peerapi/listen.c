#include "daemon/peerapi/listen.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint32_t crc32_ieee(const uint8_t *data, size_t len)
{
        uint32_t crc = 0xffffffff;
        for (size_t i = 0; i < len; i++) {
                crc ^= data[i];
                for (int bit = 0; bit < 8; bit++)
                        crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
        return ~crc;
}

uint16_t peerapi_port(struct ip ip, uint8_t attempt)
{
        uint8_t low[3];
        memcpy(low, ip.b + ip_bits(ip) / 8 - sizeof(low), sizeof(low));
        low[0] = (uint8_t)(low[0] + attempt);
        return (uint16_t)(0x8000 | crc32_ieee(low, sizeof(low)));
}

/* The kernel would also hand over packets for our address that came from the local network: nobody there is a peer. */
static bool set_options(int fd, int family, const char *ifname)
{
        int one = 1;
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
                setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one)) != 0 ||
                (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) != 0))
                return false;
        return ifname == NULL ||
                setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, ifname, (socklen_t)strlen(ifname) + 1) == 0;
}

static int try_port(struct ip ip, uint16_t port, const char *ifname)
{
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr((struct addr){ip, port}, &sa);
        int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -1;
        if (set_options(fd, sa.ss_family, ifname) && bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 128) == 0)
                return fd;
        int why = errno;
        close(fd);
        errno = why;
        return -1;
}

enum err peerapi_socket(struct ip ip, const char *ifname, int *ret_fd, uint16_t *ret_port)
{
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        int fd = -1;
        for (uint8_t i = 0; fd < 0 && i < PEERAPI_TRIES; i++)
                fd = try_port(ip, peerapi_port(ip, i), ifname);
        if (fd < 0)
                fd = try_port(ip, 0, ifname);
        if (fd < 0)
                return ERR_IO;
        if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0) {
                close(fd);
                return ERR_IO;
        }
        *ret_fd = fd;
        *ret_port = addr_from_sockaddr((struct sockaddr *)&sa).port;
        return ERR_NONE;
}
