/* daemon/pingprog.h - one echo request by the program `ping` of the host, which may have a right that this process has not.
 *
 * Control thread; each runs in a short-lived helper thread, at most PINGPROG_MAX at a time, one more is not asked.
 */
#pragma once

#include "base/addr.h"
#include "base/loop.h"

enum { PINGPROG_MAX = 20 };

struct pingprog;

struct pingprog *pingprog_new(struct loop *l, void (*answered)(void *arg, uint16_t number), void *arg);   /* NULL: errno */
void pingprog_free(struct pingprog *p);   /* what is under way is not reported */
void pingprog_ask(struct pingprog *p, uint16_t number, struct ip to);
