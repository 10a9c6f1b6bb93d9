/* tests/unit/road.h - what the kernel says of its routes, decided by the test: `road` stands in for the answer that
 * stream_way() gets.  Stands in for connect() of datagram sockets. */
#pragma once

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/dial.h"
#include "tests/unit/check.h"

static enum stream_way road = STREAM_WAY_SAME;

int connect(int fd, __CONST_SOCKADDR_ARG sa, socklen_t len)
{
        int (*real)(int, const struct sockaddr *, socklen_t);
        *(void **)&real = dlsym(RTLD_NEXT, "connect");
        struct sockaddr_in other = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
        int type = 0;
        socklen_t n = sizeof(type);
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n), 0);
        if (type == SOCK_DGRAM && road == STREAM_WAY_NONE) {
                errno = ENETUNREACH;
                return -1;
        }
        if (type == SOCK_DGRAM && road == STREAM_WAY_OTHER)
                assert_int_equal(bind(fd, (const struct sockaddr *)&other, sizeof(other)), 0);
        return real(fd, sa.__sockaddr__, len);
}
