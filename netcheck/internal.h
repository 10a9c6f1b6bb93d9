/* netcheck/internal.h - what the files behind netcheck.h share.  Nobody else includes it.
 *
 *      netcheck.c   the report and its probes by STUN
 *      fallback.c   what is asked while UDP is silent: HTTPS, ICMP echo, and whether a portal is in the way
 */
#pragma once

#include "netcheck/hairpin.h"
#include "netcheck/home.h"
#include "netcheck/netcheck.h"
#include "netcheck/plan.h"

/* A probe makes at most one lookup and one request. */
enum { PROBES_MAX = NC_SETS_MAX * NC_TRIES_MAX, FETCHES_MAX = 16 /* at a time */, LOCAL_MAX = 32 };
#define NC_REPORT_NS (5 * NS_PER_SEC)

enum captive_state { CAPTIVE_NOT, CAPTIVE_ARMED, CAPTIVE_ASKED };

enum phase { PHASE_NONE, PHASE_STUN, PHASE_HTTPS, PHASE_DONE };

struct set {
        struct nc_set plan;
        uint8_t next;        /* probe to run next */
        uint8_t resolving;   /* names asked for and not answered */
        uint8_t flying;      /* sent and not refused by the kernel */
        bool ended;          /* answered, needless, or hopeless */
};

/* A request that is out; found again by its random txid, or by its index as the action's id. */
struct sent {
        struct stun_txid txid;
        uint16_t set;
        uint8_t v4[4];       /* of whom was asked; zero: IPv6 */
        uint16_t port;
        mono_t at;
};

struct lookup {
        uint16_t set;
        uint8_t node;        /* index in the region */
        bool answered;
        struct ip ip;        /* once answered: to be sent to */
        uint16_t port;
};

struct https {
        uint16_t region_index;
        uint8_t node;        /* being asked */
        bool asked, ended;
        bool pinged, ping_ended;
};

struct netcheck {
        void (*random)(void *out, size_t n);
        enum phase phase;
        uint32_t epoch;      /* of the report: late answers to an older one carry another */
        struct nc_start_args args;
        mono_t started, stun_until, enough_at, last_full;
        bool full, enough;
        mono_t pings_until;  /* unset: they are waited for no more */
        size_t set_count, sent_count, lookup_count, https_count;
        struct set sets[NC_SETS_MAX];
        struct sent *sent;           /* [PROBES_MAX] */
        struct lookup *lookups;      /* [PROBES_MAX] */
        struct https https[DERPMAP_REGIONS_MAX];
        size_t https_asked;          /* how many are under way */
        size_t https_begun;          /* so many from the front have had a turn */
        int64_t https_each_ns;       /* for each but home, so that all have their turn */
        enum captive_state captive;
        struct nc_captive page;
        struct nc_plan plan;
        struct netcheck_report now_report, last_report;
        bool have_last;
        bool unasked_in;             /* on this network */
        struct nc_hairpin hairpin;   /* with what was found out last */
        struct ip local[LOCAL_MAX];
        size_t local_count;
        struct nc_home home;
};

/* ---- netcheck.c ---- */
uint32_t nc_make_id(const struct netcheck *nc, size_t index);
bool nc_take_id(const struct netcheck *nc, uint32_t id, size_t count, size_t *ret);   /* false: of another report, or none */

/* ---- fallback.c ---- */
void nc_arm_captive(struct netcheck *nc);
mono_t nc_captive_at(const struct netcheck *nc);
bool nc_run_captive(struct netcheck *nc, mono_t now, struct nc_action *ret);
bool nc_captive_ended(const struct netcheck *nc);
void nc_enter_https(struct netcheck *nc, mono_t now);
bool nc_run_https(struct netcheck *nc, size_t i, mono_t now, struct nc_action *ret);
bool nc_https_ended(const struct netcheck *nc);
bool nc_run_ping(struct netcheck *nc, size_t i, struct nc_action *ret);
mono_t nc_pings_until(const struct netcheck *nc);   /* unset: none is waited for */
