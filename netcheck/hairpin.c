#include "netcheck/hairpin.h"

#include <string.h>

enum { ASKS = 3, SENDS = 2 };

static const int64_t ASK_SPACING_NS = 100 * NS_PER_MS;
static const int64_t SEND_SPACING_NS = 30 * NS_PER_MS;
/* For what goes to the NAT and back, and not much longer, as where it does not the report waits for it. */
static const int64_t WAIT_MIN_NS = 60 * NS_PER_MS;
static const int64_t WAIT_MAX_NS = 300 * NS_PER_MS;

static void enter(struct nc_hairpin *h, enum nc_hairpin_step step, mono_t now)
{
        h->step = step;
        h->since = now;
        h->sent = 0;
}

void nc_hairpin_stop(struct nc_hairpin *h)
{
        h->step = NC_HAIRPIN_OFF;
}

static void end(struct nc_hairpin *h, enum nc_tri works)
{
        h->works = works;
        nc_hairpin_stop(h);
}

void nc_hairpin_start(struct nc_hairpin *h, void (*fill)(void *out, size_t n), struct addr relay, int64_t rtt_ns,
                      struct addr outside, mono_t now)
{
        *h = (struct nc_hairpin){.relay = relay, .rtt_ns = rtt_ns, .outside = outside};
        for (size_t i = 0; i < 3; i++)
                fill(h->txid[i].b, sizeof(h->txid[i].b));
        enter(h, NC_HAIRPIN_ASK, now);
}

static int64_t spacing(const struct nc_hairpin *h)
{
        return h->step == NC_HAIRPIN_ASK ? ASK_SPACING_NS : SEND_SPACING_NS;
}

static unsigned sends(const struct nc_hairpin *h)
{
        return h->step == NC_HAIRPIN_ASK ? ASKS : SENDS;
}

/* After the last datagram of the step. */
static int64_t wait(const struct nc_hairpin *h)
{
        if (h->step == NC_HAIRPIN_ASK)
                return h->rtt_ns + ASK_SPACING_NS;
        return h->rtt_ns < WAIT_MIN_NS ? WAIT_MIN_NS : h->rtt_ns > WAIT_MAX_NS ? WAIT_MAX_NS : h->rtt_ns;
}

mono_t nc_hairpin_deadline(const struct nc_hairpin *h)
{
        if (h->step == NC_HAIRPIN_OFF)
                return MONO_NEVER;
        if (h->sent < sends(h))
                return mono_add_ns(h->since, h->sent * spacing(h));
        return mono_add_ns(h->since, (sends(h) - 1) * spacing(h) + wait(h));
}

static void on_silence(struct nc_hairpin *h, mono_t now)
{
        if (h->step == NC_HAIRPIN_ASK)
                end(h, NC_UNKNOWN);
        else if (h->step == NC_HAIRPIN_OUT)
                enter(h, NC_HAIRPIN_BACK, now);
        else
                end(h, NC_FALSE);
}

bool nc_hairpin_next(struct nc_hairpin *h, mono_t now, struct nc_hairpin_send *ret)
{
        while (h->step != NC_HAIRPIN_OFF && mono_reached(now, nc_hairpin_deadline(h))) {
                if (h->sent == sends(h)) {
                        on_silence(h, now);
                        continue;
                }
                h->sent++;
                ret->second = h->step != NC_HAIRPIN_OUT;
                ret->to = h->step == NC_HAIRPIN_ASK ? h->relay : h->step == NC_HAIRPIN_OUT ? h->second : h->outside;
                stun_request(&h->txid[h->step - NC_HAIRPIN_ASK], ret->data);
                return true;
        }
        return false;
}

static bool is_request(const struct nc_hairpin *h, enum nc_hairpin_step step, const void *data, size_t len)
{
        struct stun_txid txid;
        return stun_parse_request(data, len, &txid) == ERR_NONE &&
               memcmp(&txid, &h->txid[step - NC_HAIRPIN_ASK], sizeof(txid)) == 0;
}

bool nc_hairpin_on_second(struct nc_hairpin *h, struct addr src, const void *data, size_t len, mono_t now)
{
        struct stun_txid txid;
        struct addr seen;
        if (h->step == NC_HAIRPIN_ASK && stun_parse_response(data, len, &txid, &seen) == ERR_NONE &&
                memcmp(&txid, &h->txid[0], sizeof(txid)) == 0 && seen.ip.family == IP_V4) {
                h->second = seen;
                enter(h, NC_HAIRPIN_OUT, now);
                return true;
        }
        if (h->step < NC_HAIRPIN_OUT || !is_request(h, NC_HAIRPIN_OUT, data, len))
                return false;
        h->same_mapping = addr_eq(src, h->outside);
        end(h, NC_TRUE);
        return true;
}

bool nc_hairpin_on_first(struct nc_hairpin *h, const void *data, size_t len)
{
        if (h->step != NC_HAIRPIN_BACK || !is_request(h, NC_HAIRPIN_BACK, data, len))
                return false;
        h->filtered = true;
        end(h, NC_TRUE);
        return true;
}
