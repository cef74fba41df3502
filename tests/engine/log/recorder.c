/* Records what a process does to the files beneath one folder: every write, truncation, creation, removal, renaming,
 * linking and sync, in order, with its bytes. Preloaded (LD_PRELOAD), so that it sees SQLite's system calls like ours.
 *
 * RECORDER_FOLDER  the folder, absolute and without links
 * RECORDER_TRACE   where the records go; outside the folder
 *
 * or `recorder_begin`, from inside the process. A record is four 64-bit integers (kind, length of the name, offset,
 * length of the data), the name relative to the folder, the data; tests/disks.py reads them. A sync that fails is
 * recorded too: what it was to keep may be lost for good, though the kernel still shows it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length;
static int trace = -1;

void recorder_begin(const char *where, const char *to)
{
    folder_length = strlen(where);
    memcpy(folder, where, folder_length + 1);
    trace = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

__attribute__((constructor)) static void begin(void)
{
    const char *where = getenv("RECORDER_FOLDER"), *to = getenv("RECORDER_TRACE");
    if (where != NULL && to != NULL)
        recorder_begin(where, to);
}

/* The name relative to the folder ("." for the folder itself), or NULL if the path leads elsewhere. */
static const char *inside(const char *path)
{
    if (trace < 0 || strncmp(path, folder, folder_length) != 0)
        return NULL;
    if (path[folder_length] == '\0')
        return ".";
    return path[folder_length] == '/' ? path + folder_length + 1 : NULL;
}

static const char *name_of(int descriptor, char *buffer)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    buffer[length] = '\0';
    /* Nobody finds a file without a name after the power is back. */
    if (length > 10 && strcmp(buffer + length - 10, " (deleted)") == 0)
        return NULL;
    return inside(buffer);
}

static void record(char kind, const char *name, int64_t offset, const void *data, size_t size)
{
    int64_t head[4] = {kind, (int64_t)strlen(name), offset, (int64_t)size};
    struct iovec parts[3] = {{head, sizeof head}, {(void *)name, strlen(name)}, {(void *)data, size}};
    syscall(SYS_writev, trace, parts, 3);
}

#define REAL(function) ((__typeof__(&function))dlsym(RTLD_NEXT, #function))

/* Do the real thing, and record it if it was done to a file of the folder; one at a time, so that the order is true. */
#define WATCHED(type, descriptor, call, kind, offset, data, size)                                                      \
    char buffer[PATH_MAX];                                                                                             \
    const char *name = name_of(descriptor, buffer);                                                                    \
    if (name == NULL)                                                                                                  \
        return call;                                                                                                   \
    pthread_mutex_lock(&turn);                                                                                         \
    type result = call;                                                                                                \
    if (result >= 0)                                                                                                   \
        record(kind, name, offset, data, size);                                                                        \
    pthread_mutex_unlock(&turn);                                                                                       \
    return result

ssize_t pwrite(int file, const void *data, size_t size, off_t at)
{
    WATCHED(ssize_t, file, REAL(pwrite)(file, data, size, at), 'w', at, data, (size_t)result);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
    WATCHED(ssize_t, file, REAL(pwrite64)(file, data, size, at), 'w', at, data, (size_t)result);
}

ssize_t write(int file, const void *data, size_t size)
{
    off_t at = lseek(file, 0, SEEK_CUR);
    WATCHED(ssize_t, file, REAL(write)(file, data, size), 'w', at, data, (size_t)result);
}

int ftruncate(int file, off_t size)
{
    WATCHED(int, file, REAL(ftruncate)(file, size), 't', size, "", 0);
}

int ftruncate64(int file, off64_t size)
{
    WATCHED(int, file, REAL(ftruncate64)(file, size), 't', size, "", 0);
}

static int synced(int (*call)(int), int file)
{
    char buffer[PATH_MAX];
    const char *name = name_of(file, buffer);
    if (name == NULL)
        return call(file);
    pthread_mutex_lock(&turn);
    int result = call(file), error = errno;
    record(result == 0 ? 's' : 'f', name, 0, "", 0);
    pthread_mutex_unlock(&turn);
    errno = error;
    return result;
}

int fsync(int file)
{
    return synced(REAL(fsync), file);
}

int fdatasync(int file)
{
    return synced(REAL(fdatasync), file);
}

int unlink(const char *path)
{
    pthread_mutex_lock(&turn);
    int result = REAL(unlink)(path);
    if (result == 0 && inside(path))
        record('u', inside(path), 0, "", 0);
    pthread_mutex_unlock(&turn);
    return result;
}

int rename(const char *from, const char *to)
{
    pthread_mutex_lock(&turn);
    int result = REAL(rename)(from, to);
    if (result == 0 && inside(from) && inside(to))
        record('r', inside(from), 0, inside(to), strlen(inside(to)));
    pthread_mutex_unlock(&turn);
    return result;
}

int link(const char *from, const char *to)
{
    pthread_mutex_lock(&turn);
    int result = REAL(link)(from, to);
    if (result == 0 && inside(from) && inside(to))
        record('l', inside(from), 0, inside(to), strlen(inside(to)));
    pthread_mutex_unlock(&turn);
    return result;
}

static int opened(int (*call)(const char *, int, ...), const char *path, int flags, mode_t mode)
{
    const char *name = inside(path);
    if (name == NULL || !(flags & (O_CREAT | O_TRUNC)))
        return call(path, flags, mode);
    pthread_mutex_lock(&turn);
    int there = access(path, F_OK) == 0;
    int result = call(path, flags, mode);
    if (result >= 0 && !there)
        record('c', name, 0, "", 0);
    else if (result >= 0 && flags & O_TRUNC)
        record('t', name, 0, "", 0);
    pthread_mutex_unlock(&turn);
    return result;
}

#define MODE(flags)                                                                                                    \
    va_list rest;                                                                                                      \
    va_start(rest, flags);                                                                                             \
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                                          \
    va_end(rest)

int open(const char *path, int flags, ...)
{
    MODE(flags);
    return opened(REAL(open), path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE(flags);
    return opened(REAL(open64), path, flags, mode);
}
