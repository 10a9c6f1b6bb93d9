/* tests/sim/faults.h - what goes wrong in a world, when, and for how long losses are excused for it.
 *
 * All faults end, or stay as they are, before faults_end(); what must be well again soon after each is what the excuses say.
 */
#pragma once

#include "base/mono.h"
#include "tests/sim/rng.h"

struct node;

void faults_reset(void);
/* So many of them between the two moments. */
void faults_draw(struct rng *rng, int count, mono_t from, mono_t until);
/* The server is away for good, and then everybody gets another outer address, of which only the nodes themselves can tell. */
void faults_draw_strangers(struct rng *rng, mono_t from);
/* All relays are far, and then one of them is near: home moves, for which nothing is excused. */
void faults_draw_near(struct rng *rng, mono_t from);
/* It was not there from the start. */
void faults_draw_newcomer(struct rng *rng, struct node *n, mono_t from, mono_t until);
int64_t faults_settle_ms(void);   /* how long after the last of them all must be well */
void faults_done(void);
