/* The thread that writes: in order, the newest of what waits, and nothing lost at the end. */
#include "daemon/state_writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/crypto.h"
#include "tests/unit/check.h"

/* A disk that can be made to hang or to fail; written in order, one word each. */
struct disk {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool hangs, writing;
        int error;
        char written[256];
};
static struct disk disk;

static enum err slow_write(const void *arg, const char *text, size_t len)
{
        assert_ptr_equal(arg, &disk);
        pthread_mutex_lock(&disk.lock);
        disk.writing = true;
        pthread_cond_broadcast(&disk.changed);
        while (disk.hangs)
                pthread_cond_wait(&disk.changed, &disk.lock);
        disk.writing = false;
        int error = disk.error;
        if (error == 0) {
                size_t at = strlen(disk.written);
                assert_true(at + len + 2 < sizeof(disk.written));
                memcpy(disk.written + at, text, len);
                memcpy(disk.written + at + len, " ", 2);
        }
        pthread_mutex_unlock(&disk.lock);
        errno = error;
        return error == 0 ? ERR_NONE : ERR_IO;
}

static void hang(bool on)
{
        pthread_mutex_lock(&disk.lock);
        disk.hangs = on;
        pthread_cond_broadcast(&disk.changed);
        pthread_mutex_unlock(&disk.lock);
}

static void until_writing(void)
{
        pthread_mutex_lock(&disk.lock);
        while (!disk.writing)
                pthread_cond_wait(&disk.changed, &disk.lock);
        pthread_mutex_unlock(&disk.lock);
}

static struct state_writer *open_writer(void)
{
        assert_int_equal(crypto_init(), ERR_NONE);
        disk = (struct disk){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
        struct state_writer *w = state_writer_new(slow_write, &disk);
        assert_non_null(w);
        return w;
}

/* The caller never waits for a disk that hangs; what it gives meanwhile is one write. */
static void test_newest_of_what_waits(void **state)
{
        (void)state;
        struct state_writer *w = open_writer();
        hang(true);
        state_writer_put(w, strdup("a"));
        until_writing();
        state_writer_put(w, strdup("b"));
        state_writer_put(w, strdup("c"));
        state_writer_put(w, strdup("d"));
        hang(false);
        state_writer_free(w);
        assert_string_equal(disk.written, "a d ");
}

static void test_stop(void **state)
{
        (void)state;
        struct state_writer *w = open_writer();
        assert_true(state_writer_stop(w));
        state_writer_put(w, strdup("a"));
        while (!state_writer_stop(w))   /* it may not have begun */
                state_writer_put(w, strdup("a"));
        assert_string_equal(disk.written, "a ");
        disk.error = ENOSPC;
        hang(true);
        state_writer_put(w, strdup("b"));
        until_writing();
        hang(false);
        assert_false(state_writer_stop(w));   /* that one failed */
        assert_int_equal(state_writer_failed(w), 0);
        state_writer_free(w);
        assert_string_equal(disk.written, "a ");
}

static void test_failure_is_told_once(void **state)
{
        (void)state;
        struct state_writer *w = open_writer();
        int error = 0;
        disk.error = EROFS;
        state_writer_put(w, strdup("a"));
        while ((error = state_writer_failed(w)) == 0)
                ;
        assert_int_equal(error, EROFS);
        assert_int_equal(state_writer_failed(w), 0);
        state_writer_free(w);
        state_writer_free(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_newest_of_what_waits),
                cmocka_unit_test(test_stop),
                cmocka_unit_test(test_failure_is_told_once),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
