/*
 * spawn.c - starts a program without a shell, its output in a file, and waits until it ends.
 */
#include "export/spawn.h"

#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static dt_status failed(const char *program, int code, dt_error *err)
{
    if (code == ENOENT)
        return dt_fail(err, DT_NOT_FOUND, "there is no program \"%s\"", program);
    return dt_fail(err, DT_IO, "cannot start \"%s\": %s", program, strerror(code));
}

static dt_status wait_for(pid_t child, const char *program, int *code, dt_error *err)
{
    int state = 0;
    while (waitpid(child, &state, 0) < 0)
        if (errno != EINTR)
            return failed(program, errno, err);
    *code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
    return DT_OK;
}

dt_status dt_spawn(const char *const argv[], const char *log, int *code, dt_error *err)
{
    posix_spawn_file_actions_t files;
    pid_t child;
    int status = posix_spawn_file_actions_init(&files);
    if (status)
        return failed(argv[0], status, err);
    status = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!status)
        status =
            posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (!status)
        status = posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    if (!status)
        status = posix_spawnp(&child, argv[0], &files, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    return status ? failed(argv[0], status, err) : wait_for(child, argv[0], code, err);
}
