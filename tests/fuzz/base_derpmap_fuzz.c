/* derpmap_from_json() over any JSON: what it takes it shows again, unchanged. */
#include <stdlib.h>

#include "base/derpmap.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct derpmap *m = NULL;
        struct derpmap *again = NULL;
        json_t *obj = json_parse((const char *)data, size);
        if (derpmap_from_json(obj, &m) == ERR_NONE) {
                json_t *out = derpmap_to_json(m);
                if (derpmap_from_json(out, &again) != ERR_NONE || !derpmap_eq(m, again))
                        abort();
                json_decref(out);
        }
        derpmap_free(again);
        derpmap_free(m);
        json_decref(obj);
        return 0;
}
