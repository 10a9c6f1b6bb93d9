/* json_each() over anything: what it takes apart must be what the whole parser sees. */
#include <stdlib.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err count(void *arg, const char *key, json_t *element)
{
        (void)key;
        size_t *n = arg;
        (*n)++;
        return element != NULL ? ERR_NONE : ERR_FORMAT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const keys[] = {"PeersChanged", "Peers", NULL};
        size_t n = 0;
        json_t *rest = NULL;
        enum err err = json_each((const char *)data, size, keys, count, &n, &rest);
        json_t *whole = json_parse((const char *)data, size);
        if (err == ERR_NONE) {
                /* A member given twice shows twice here, and once in the whole. */
                if (whole == NULL || n < json_array_size(json_arr(whole, "Peers")) || json_has(rest, "Peers"))
                        abort();
        }
        json_decref(rest);
        json_decref(whole);
        return 0;
}
