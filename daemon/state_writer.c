#include "daemon/state_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/thread.h"

struct state_writer {
        state_write_fn fn;
        const void *arg;
        pthread_t thread;
        pthread_mutex_t lock;    /* of all below */
        pthread_cond_t changed;
        char *waiting;           /* NULL: nothing */
        bool busy, ending;
        int failed;
};

static void drop(char *text)
{
        if (text != NULL)
                crypto_wipe(text, strlen(text));
        free(text);
}

static void *run(void *arg)
{
        struct state_writer *w = arg;
        pthread_mutex_lock(&w->lock);
        while (w->waiting != NULL || !w->ending) {
                if (w->waiting == NULL) {
                        pthread_cond_wait(&w->changed, &w->lock);
                        continue;
                }
                char *text = w->waiting;
                w->waiting = NULL;
                w->busy = true;
                pthread_mutex_unlock(&w->lock);
                int error = w->fn(w->arg, text, strlen(text)) == ERR_NONE ? 0 : errno;
                drop(text);
                pthread_mutex_lock(&w->lock);
                w->busy = false;
                w->failed = error;
                pthread_cond_broadcast(&w->changed);
        }
        pthread_mutex_unlock(&w->lock);
        return NULL;
}

struct state_writer *state_writer_new(state_write_fn fn, const void *arg)
{
        struct state_writer *w = calloc(1, sizeof(*w));
        if (w == NULL)
                return NULL;
        w->fn = fn;
        w->arg = arg;
        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->changed, NULL);
        if (thread_start(&w->thread, run, w) == 0)
                return w;
        free(w);
        return NULL;
}

void state_writer_free(struct state_writer *w)
{
        if (w == NULL)
                return;
        pthread_mutex_lock(&w->lock);
        w->ending = true;
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
        free(w);
}

void state_writer_put(struct state_writer *w, char *text)
{
        pthread_mutex_lock(&w->lock);
        char *superseded = w->waiting;
        w->waiting = text;
        w->failed = 0;
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
        drop(superseded);
}

bool state_writer_stop(struct state_writer *w)
{
        pthread_mutex_lock(&w->lock);
        bool written = w->waiting == NULL;
        drop(w->waiting);
        w->waiting = NULL;
        while (w->busy)
                pthread_cond_wait(&w->changed, &w->lock);
        written = written && w->failed == 0;
        w->failed = 0;
        pthread_mutex_unlock(&w->lock);
        return written;
}

int state_writer_failed(struct state_writer *w)
{
        pthread_mutex_lock(&w->lock);
        int error = w->failed;
        w->failed = 0;
        pthread_mutex_unlock(&w->lock);
        return error;
}
