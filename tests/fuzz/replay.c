/* Runs a fuzz target over every file of a corpus folder, each file whole and at every shorter
 * length up to 4 KiB, so that the corpus is a regression test without a fuzzer. */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { REPLAY_MAX = 1 << 20, TRUNCATE_MAX = 4096 };

/* The copy has exactly n bytes, so that a sanitizer sees the first byte read past the end. */
static void run_copy(const uint8_t *data, size_t n)
{
        uint8_t *copy = malloc(n ? n : 1);
        if (copy == NULL)
                abort();
        memcpy(copy, data, n);
        (void)LLVMFuzzerTestOneInput(copy, n);
        free(copy);
}

static int run_file(const char *dir, const char *name)
{
        static uint8_t buf[REPLAY_MAX];
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        FILE *f = fopen(path, "rb");
        if (f == NULL)
                return -1;
        size_t n = fread(buf, 1, sizeof(buf), f);
        fclose(f);
        for (size_t i = 0; i < n && i < TRUNCATE_MAX; i++)
                run_copy(buf, i);
        run_copy(buf, n);
        return 0;
}

int main(int argc, char **argv)
{
        if (argc != 2) {
                fprintf(stderr, "usage: %s CORPUS_DIR\n", argv[0]);
                return 2;
        }
        DIR *d = opendir(argv[1]);
        if (d == NULL) {
                perror(argv[1]);
                return 1;
        }
        int files = 0;
        for (struct dirent *e; (e = readdir(d)) != NULL;)
                if (e->d_name[0] != '.' && run_file(argv[1], e->d_name) == 0)
                        files++;
        closedir(d);
        printf("%d corpus files\n", files);
        return files > 0 ? 0 : 1;
}
