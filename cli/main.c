#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/command.h"

/* As much as a pipe takes goes there at once: `tailscale status --json | grep -q x` must not end us by SIGPIPE half-way,
 * which a shell with pipefail takes for a failure. */
static char pipeful[65536];

int main(int argc, char **argv)
{
        file_keep_standard();
        if (!isatty(STDOUT_FILENO))
                (void)setvbuf(stdout, pipeful, _IOFBF, sizeof(pipeful));
        return cli_main(argc, argv);
}
