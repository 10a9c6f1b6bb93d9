/* Preferences from anything: what is taken in comes out again the same, and a mask is applied whole or not at all. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "daemon/localapi/prefs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool ok)
{
        if (!ok)
                abort();
}

static bool same_json(const struct prefs *a, const struct prefs *b)
{
        json_t *ja = prefs_to_json(a, true), *jb = prefs_to_json(b, true);
        bool same = json_equal(ja, jb) == 1;
        json_decref(ja);
        json_decref(jb);
        return same;
}

static void read_back(const struct prefs *p)
{
        const char *why;
        struct prefs again, copy;
        json_t *j = prefs_to_json(p, true);
        expect(prefs_from_json(j, &again, &why) == ERR_NONE);
        expect(same_json(p, &again));
        expect(prefs_copy(p, &copy) == ERR_NONE);
        expect(same_json(p, &copy) && prefs_equal(p, &copy));
        (void)prefs_check(p);
        json_decref(j);
        prefs_done(&again);
        prefs_done(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        json_t *j = json_parse((const char *)data, size);
        struct prefs p, before;
        const char *why = NULL;
        bool changed = false;
        if (prefs_from_json(j, &p, &why) == ERR_NONE) {
                read_back(&p);
                prefs_done(&p);
        } else {
                expect(why != NULL);
        }
        prefs_init(&p);
        prefs_init(&before);
        why = NULL;
        if (prefs_apply_masked(&p, j, &changed, &why) == ERR_NONE) {
                expect(changed == !prefs_equal(&p, &before));
                expect(prefs_check(&p) == NULL && !p.identity.present);
                read_back(&p);
        } else {
                expect(why != NULL && same_json(&p, &before));
        }
        prefs_done(&p);
        prefs_done(&before);
        json_decref(j);
        return 0;
}
