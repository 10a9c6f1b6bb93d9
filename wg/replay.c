#include "wg/replay.h"

static uint64_t bit_of(uint64_t counter)
{
        return UINT64_C(1) << (counter % 64);
}

static uint64_t word_of(uint64_t counter)
{
        return counter / 64 % REPLAY_WORDS;
}

bool replay_peek(const struct replay *r, uint64_t counter)
{
        if (counter >= REJECT_AFTER_MESSAGES)
                return false;
        if (counter > r->highest)
                return true;
        if (r->highest - counter > REPLAY_WINDOW)
                return false;
        return (r->bits[word_of(counter)] & bit_of(counter)) == 0;
}

bool replay_accept(struct replay *r, uint64_t counter)
{
        if (!replay_peek(r, counter))
                return false;
        if (counter > r->highest) {
                uint64_t steps = counter / 64 - r->highest / 64;
                if (steps > REPLAY_WORDS)
                        steps = REPLAY_WORDS;
                for (uint64_t i = 1; i <= steps; i++)
                        r->bits[(r->highest / 64 + i) % REPLAY_WORDS] = 0;
                r->highest = counter;
        }
        r->bits[word_of(counter)] |= bit_of(counter);
        return true;
}
