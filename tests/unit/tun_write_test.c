/* What becomes of joined packets when the kernel takes them, refuses them, or refuses to have them joined. */
#include "tun/device.c"

#include "base/ipmake.h"
#include "base/reader.h"
#include "tests/unit/check.h"

enum { PIECES = 3, PAYLOAD = 100, LEN = IP4_HEADER + 8 + PAYLOAD };

static struct tun tun;
static struct gro gro;
static struct pkt pkts[PIECES + 1];
static uint8_t bytes[PIECES + 1][LEN];

/* Of two flows: the last one is a neighbour to nobody. */
static void join(int fd)
{
        struct ip from = ip_v4(10, 0, 0, 1), to = ip_v4(10, 0, 0, 2);
        memset(&tun, 0, sizeof(tun));
        tun.fd = fd;
        tun.vnet = true;
        tun.offloads = TUN_OFFLOADS;
        gro_drop(&gro, gro.count);
        gro.udp = true;
        for (size_t i = 0; i <= PIECES; i++) {
                uint8_t *udp = bytes[i] + ip_make_header(bytes[i], from, to, PROTO_UDP, 8 + PAYLOAD);
                memset(udp, 1, 8 + PAYLOAD);
                udp[0] = i == PIECES;
                store_be16(udp + 4, 8 + PAYLOAD);
                store_be16(udp + 6, 0);
                store_be16(udp + 6, ip_checksum_pseudo(from, to, PROTO_UDP, udp, 8 + PAYLOAD));
                pkt_view(&pkts[i], bytes[i], LEN, 0, LEN);
                if (!gro_append(&gro, &pkts[i]))
                        assert_true(gro_start(&gro, &pkts[i]));
        }
        assert_int_equal(gro.count, 2);
        assert_int_equal(gro.item[0].count, PIECES);
}

static void check(uint64_t written, uint64_t dropped, unsigned offloads)
{
        struct tun_counters c = tun_counters(&tun);
        assert_int_equal(c.written, written);
        assert_int_equal(c.write_dropped, dropped);
        assert_int_equal(tun_offloads(&tun), offloads);
}

static void taken(void **state)
{
        (void)state;
        int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        join(fd);
        tun_write(&tun, &gro, gro.count);
        check(2, 0, TUN_OFFLOADS);
        close(fd);
}

/* All that is lost is counted, however it was joined. */
static void not_taken(void **state)
{
        (void)state;
        join(-1);
        tun_write(&tun, &gro, gro.count);
        check(0, PIECES + 1, TUN_OFFLOADS);
}

/* Joined is the offload that goes; each is offered again by itself. */
static void not_taken_joined(void **state)
{
        (void)state;
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);   /* takes 8 bytes: everything else is invalid */
        join(fd);
        tun_write(&tun, &gro, gro.count);
        check(0, PIECES + 1, TUN_OFFLOADS & ~TUN_UDP_GRO);
        close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(taken),
                cmocka_unit_test(not_taken),
                cmocka_unit_test(not_taken_joined),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
