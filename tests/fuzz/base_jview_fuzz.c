/* A view of anything says what the library's tree says, or both refuse it. */
#include "tests/unit/jview_same.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct jview_room room = {0};
        if (!jview_agrees(&room, (const char *)data, size))
                abort();
        jview_done(&room);
        return 0;
}
