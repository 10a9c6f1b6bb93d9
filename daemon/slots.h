/* daemon/slots.h - which small number stands for which node on the data side.
 *
 * Node id (from the control server) <-> slot, both ways in constant time, with a generation a slot so that a
 * late answer about a former tenant is recognised.  Control thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { SLOTS_MAX = 65536 };

struct slots;

struct slots *slots_new(void);   /* NULL: out of memory */
void slots_free(struct slots *s);
/* The slot of node_id (> 0), taking a free one if it has none.  ERR_FULL: none left, or no memory. */
ERR_CHECK enum err slots_take(struct slots *s, int64_t node_id, uint32_t *ret_slot, uint32_t *ret_gen);
bool slots_find(const struct slots *s, int64_t node_id, uint32_t *ret_slot);
bool slots_release(struct slots *s, int64_t node_id, uint32_t *ret_slot);   /* false: had none */
int64_t slots_node(const struct slots *s, uint32_t slot, uint32_t gen);     /* 0: not any more */
int64_t slots_any(struct slots *s);                                         /* some node id, 0: empty */
