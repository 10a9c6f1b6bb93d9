#include "magicsock/history.h"

#include <stdbool.h>
#include <stdio.h>

/* Part of every search, however often; the others are changes. */
static bool repeats(enum history_kind k)
{
        return k == HISTORY_CONFIG || k == HISTORY_GONE || k == HISTORY_UNREACHABLE || k == HISTORY_PINGED ||
               k == HISTORY_CALL_OUT || k == HISTORY_CALL_IN || k == HISTORY_PING_IN;
}

static uint16_t clip(int64_t v)
{
        return v < 0 ? 0 : v > UINT16_MAX ? UINT16_MAX : (uint16_t)v;
}

/* Of the i-th, the oldest first. */
static size_t place(const struct history *h, size_t i)
{
        return ((size_t)h->next + HISTORY_MAX - h->count + i) % HISTORY_MAX;
}

/* A path that loses packets goes from one to the other and back. */
static bool flaps(enum history_kind k)
{
        return k == HISTORY_DIRECT || k == HISTORY_DOUBT;
}

/* The same, since the last change, where the doubts about one path are not changes for each other; NULL: it is the first. */
static struct history_entry *same(struct history *h, enum history_kind k, struct addr a)
{
        for (size_t i = h->count; (repeats(k) || flaps(k)) && i-- > 0;) {
                struct history_entry *e = &h->e[place(h, i)];
                enum history_kind found = (enum history_kind)e->kind;
                if (found == k && addr_eq(e->addr, a))
                        return e;
                if (!repeats(found) && !(flaps(k) && flaps(found) && addr_eq(e->addr, a)))
                        break;
        }
        return NULL;
}

void history_add(struct history *h, enum history_kind k, struct addr a, int64_t value, mono_t now)
{
        struct history_entry *e = same(h, k, a);
        if (e) {
                int64_t since = mono_diff_ms(now, e->at);
                if (e->times < UINT16_MAX)
                        e->times++;
                e->last_ms = since > UINT32_MAX ? UINT32_MAX : (uint32_t)since;
                e->value = clip(value);
                return;
        }
        h->e[h->next] = (struct history_entry){.at = now, .addr = a, .kind = (uint8_t)k, .value = clip(value), .times = 1};
        h->next = (uint8_t)((h->next + 1) % HISTORY_MAX);
        if (h->count < HISTORY_MAX)
                h->count++;
}

const struct history_entry *history_at(const struct history *h, size_t i)
{
        return &h->e[place(h, i)];
}

const char *history_word(enum history_kind k)
{
        switch (k) {
        case HISTORY_CONFIG:
                return "map";
        case HISTORY_PINGED:
                return "pinged";
        case HISTORY_CALL_OUT:
                return "call-out";
        case HISTORY_CALL_IN:
                return "call-in";
        case HISTORY_PING_IN:
                return "ping-in";
        case HISTORY_DIRECT:
                return "direct";
        case HISTORY_DOUBT:
                return "doubt";
        case HISTORY_RELAY:
                return "relay";
        case HISTORY_LOST:
                return "none";
        case HISTORY_REBIND:
                return "rebind";
        case HISTORY_UNREACHABLE:
                return "unreachable";
        case HISTORY_GONE:
                return "gone";
        }
        return "?";
}

const char *history_text(const struct history_entry *e, char out[HISTORY_TEXT_MAX])
{
        char a[ADDR_STR_MAX];
        const char *s = e->value == 1 ? "" : "es";
        addr_str(e->addr, a);
        switch ((enum history_kind)e->kind) {
        case HISTORY_CONFIG:
                snprintf(out, HISTORY_TEXT_MAX, "the map names it, with %u address%s", e->value, s);
                break;
        case HISTORY_PINGED:
                snprintf(out, HISTORY_TEXT_MAX, "pinged by UDP");
                break;
        case HISTORY_CALL_OUT:
                snprintf(out, HISTORY_TEXT_MAX, "called by relay, with %u address%s of ours", e->value, s);
                break;
        case HISTORY_CALL_IN:
                snprintf(out, HISTORY_TEXT_MAX, "it called by relay, with %u address%s of its own", e->value, s);
                break;
        case HISTORY_PING_IN:
                snprintf(out, HISTORY_TEXT_MAX, "its ping came from %s", a);
                break;
        case HISTORY_DIRECT:
                snprintf(out, HISTORY_TEXT_MAX, "direct by %s, %u.%u ms", a, e->value / 10U, e->value % 10U);
                break;
        case HISTORY_DOUBT:
                snprintf(out, HISTORY_TEXT_MAX, "%s is in doubt: data goes there and by relay", a);
                break;
        case HISTORY_RELAY:
                snprintf(out, HISTORY_TEXT_MAX, "by relay %u", e->value);
                break;
        case HISTORY_LOST:
                snprintf(out, HISTORY_TEXT_MAX, "no way to it is known");
                break;
        case HISTORY_REBIND:
                snprintf(out, HISTORY_TEXT_MAX, "another network or disco key: every path has to prove itself anew");
                break;
        case HISTORY_UNREACHABLE:
                snprintf(out, HISTORY_TEXT_MAX, "the kernel has no route to %s", a);
                break;
        case HISTORY_GONE:
                snprintf(out, HISTORY_TEXT_MAX, "relay %u says that it is not there", e->value);
                break;
        }
        return out;
}
