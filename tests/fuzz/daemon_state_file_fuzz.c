/* A state file of any content, with the profiles in it: refused, or taken over and still the same after a restart. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "daemon/profile.h"
#include "daemon/state_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool ok)
{
        if (!ok)
                abort();
}

/* Opens; true if it was taken. */
static bool take_over(const char *path, char key[KEY_TEXT_MAX])
{
        struct state_file *s;
        struct profiles *p;
        const char *why = NULL;
        if (state_file_open(path, &s, &why) != ERR_NONE) {
                expect(why != NULL);
                return false;
        }
        why = NULL;
        bool ok = profiles_open(s, &p, &why) == ERR_NONE;
        if (ok) {
                key_private_text(profiles_machine_key(p), key);
                json_decref(profiles_current_json(p));
                json_decref(profiles_list_json(p));
                struct prefs copy;
                expect(prefs_copy(profiles_prefs(p), &copy) == ERR_NONE);
                expect(profiles_save(p, &copy, "", "") == ERR_NONE);
                prefs_done(&copy);
                profiles_free(p);
        } else {
                expect(why != NULL);
        }
        state_file_free(s);
        return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static char path[64];
        char first[KEY_TEXT_MAX], second[KEY_TEXT_MAX];
        expect(crypto_init() == ERR_NONE);
        if (path[0] == '\0') {
                snprintf(path, sizeof(path), "/dev/shm/state-fuzz-%d", (int)getpid());
                if (access("/dev/shm", W_OK) != 0)
                        snprintf(path, sizeof(path), "/tmp/state-fuzz-%d", (int)getpid());
        }
        int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
        expect(fd >= 0 && write(fd, data, size) == (ssize_t)size);
        close(fd);
        if (take_over(path, first)) {
                expect(take_over(path, second));
                expect(strcmp(first, second) == 0);
        }
        crypto_wipe(first, sizeof(first));
        crypto_wipe(second, sizeof(second));
        unlink(path);
        return 0;
}
