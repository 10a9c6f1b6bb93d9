#include "base/utf8.h"

#include <stdbool.h>

size_t utf8_read(const uint8_t *p, uint32_t *ret)
{
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
        if (p[0] == 0 || (p[0] >= 0x80 && p[0] < 0xc0) || p[0] > 0xf4)
                return 0;
        uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
        for (size_t i = 1; i < n; i++) {   /* the NUL at the end is no continuation */
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (p[i] & 0x3f);
        }
        bool surrogate = c >= 0xd800 && c < 0xe000;
        if (c < least[n] || c > 0x10ffff || surrogate)
                return 0;
        *ret = c;
        return n;
}
