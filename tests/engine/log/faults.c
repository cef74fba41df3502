/* Makes chosen system calls on chosen files fail, fall short, take long, or end the process. Preloaded (LD_PRELOAD), so
 * that SQLite meets it like ours. Before `recorder.c` or without it. Armed from inside the process, see tests/faulted.py,
 * or for all its life by FAULTS="<pattern> <sorts> <how> <from> <times> <much>".
 *
 * Calls are counted from `faults_arm` on, those alone that are of the armed sorts and whose path matches the pattern.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, OPEN = 4, TRUNCATE = 8, READ = 16, NAME = 32 };
enum { FAIL, SHORT, SLOW, DIE, DIE_HALFWAY };

static char pattern[PATH_MAX];
static unsigned sorts;
static int mode;
static long first, last, amount;
static atomic_long seen, struck;

/* Arm: of the calls of these sorts on files like this, the *from*-th and *times* in all are struck (0: all from then on).
 * FAIL: *much* is the errno. SLOW: the microseconds. SHORT and DIE_HALFWAY: half of a write is done. */
void faults_arm(const char *like, unsigned which, int how, long from, long times, long much)
{
    sorts = 0;
    snprintf(pattern, sizeof pattern, "%s", like);
    mode = how;
    first = from;
    last = times ? from + times - 1 : LONG_MAX;
    amount = much;
    seen = struck = 0;
    sorts = which;
}

__attribute__((constructor)) static void begin(void)
{
    char like[PATH_MAX];
    unsigned which;
    int how;
    long from, times, much;
    const char *given = getenv("FAULTS");
    if (given != NULL && sscanf(given, "%4095s %u %d %ld %ld %ld", like, &which, &how, &from, &times, &much) == 6)
        faults_arm(like, which, how, from, times, much);
}

void faults_disarm(void)
{
    sorts = 0;
}

long faults_seen(void)
{
    return seen;
}

long faults_struck(void)
{
    return struck;
}

/* Whether this call is to be struck. Nobody returns from a death. */
static int hit(unsigned sort, const char *path)
{
    if (!(sorts & sort) || path == NULL || fnmatch(pattern, path, 0) != 0)
        return 0;
    long number = ++seen;
    if (number < first || number > last)
        return 0;
    ++struck;
    if (mode == DIE)
        kill(getpid(), SIGKILL);
    if (mode == SLOW)
        usleep(amount);
    return mode != SLOW;
}

static const char *path_of(int descriptor, char *buffer)
{
    char link[64];
    if (!sorts)
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    buffer[length] = '\0';
    return buffer;
}

#define REAL(function) ((__typeof__(&function))dlsym(RTLD_NEXT, #function))

#define FAILED (errno = (int)amount, -1)

#define GUARDED(sort, descriptor, call)                                                                                \
    char buffer[PATH_MAX];                                                                                             \
    if (hit(sort, path_of(descriptor, buffer)) && mode == FAIL)                                                        \
        return FAILED;                                                                                                 \
    return call

/* A write may also be done by half. */
#define GUARDED_WRITE(descriptor, whole, half)                                                                         \
    char buffer[PATH_MAX];                                                                                             \
    if (!hit(WRITE, path_of(descriptor, buffer)))                                                                      \
        return whole;                                                                                                  \
    if (mode == FAIL)                                                                                                  \
        return FAILED;                                                                                                 \
    ssize_t result = size > 1 ? half : whole;                                                                          \
    if (mode == DIE_HALFWAY)                                                                                           \
        kill(getpid(), SIGKILL);                                                                                       \
    return result

ssize_t write(int file, const void *data, size_t size)
{
    GUARDED_WRITE(file, REAL(write)(file, data, size), REAL(write)(file, data, size / 2));
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at)
{
    GUARDED_WRITE(file, REAL(pwrite)(file, data, size, at), REAL(pwrite)(file, data, size / 2, at));
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
    GUARDED_WRITE(file, REAL(pwrite64)(file, data, size, at), REAL(pwrite64)(file, data, size / 2, at));
}

ssize_t pread(int file, void *data, size_t size, off_t at)
{
    GUARDED(READ, file, REAL(pread)(file, data, size, at));
}

ssize_t pread64(int file, void *data, size_t size, off64_t at)
{
    GUARDED(READ, file, REAL(pread64)(file, data, size, at));
}

int fsync(int file)
{
    GUARDED(SYNC, file, REAL(fsync)(file));
}

int fdatasync(int file)
{
    GUARDED(SYNC, file, REAL(fdatasync)(file));
}

int ftruncate(int file, off_t size)
{
    GUARDED(TRUNCATE, file, REAL(ftruncate)(file, size));
}

int ftruncate64(int file, off64_t size)
{
    GUARDED(TRUNCATE, file, REAL(ftruncate64)(file, size));
}

int unlink(const char *path)
{
    return hit(NAME, path) && mode == FAIL ? FAILED : REAL(unlink)(path);
}

int link(const char *from, const char *to)
{
    return hit(NAME, to) && mode == FAIL ? FAILED : REAL(link)(from, to);
}

int rename(const char *from, const char *to)
{
    return hit(NAME, from) && mode == FAIL ? FAILED : REAL(rename)(from, to);
}

#define MODE(flags)                                                                                                    \
    va_list rest;                                                                                                      \
    va_start(rest, flags);                                                                                             \
    mode_t rights = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                                        \
    va_end(rest)

int open(const char *path, int flags, ...)
{
    MODE(flags);
    return hit(OPEN, path) && mode == FAIL ? FAILED : REAL(open)(path, flags, rights);
}

int open64(const char *path, int flags, ...)
{
    MODE(flags);
    return hit(OPEN, path) && mode == FAIL ? FAILED : REAL(open64)(path, flags, rights);
}
