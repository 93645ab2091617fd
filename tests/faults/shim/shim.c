/* Stands between a process and the kernel (LD_PRELOAD): records every change of files below a folder, and makes
 * syncs and writes fail on demand. What each environment variable means is in this folder's Python docstring.
 *
 * One mutex is held over a call and its record, so that the order of the log is the order of the changes.
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OP_WRITE = 1, OP_SYNC, OP_TRUNCATE, OP_RENAME, OP_UNLINK, OP_CREATE, OP_MKDIR };
enum { FLAG_SYNCED = 1 };

struct record { uint32_t op, flags, path_bytes, unused; uint64_t offset, data_bytes; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -2;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int watched(const char *path) {
    const char *root = getenv("PENSTOCK_SHIM_ROOT");
    return root && path && strncmp(path, root, strlen(root)) == 0;
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return watched(path);
}

/* A trigger is a file; while it exists, calls on paths that contain its text fail. */
static int triggered(const char *variable, const char *path) {
    const char *name = getenv(variable);
    char wanted[256];
    if (!name) return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = syscall(SYS_read, fd, wanted, sizeof wanted - 1);
    syscall(SYS_close, fd);
    wanted[n < 0 ? 0 : n] = 0;
    return strstr(path, wanted) != NULL;
}

static void record(int op, int flags, const char *path, uint64_t offset, const struct iovec *data, int count) {
    if (log_fd == -2) {
        const char *name = getenv("PENSTOCK_SHIM_LOG");
        log_fd = name ? syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    }
    if (log_fd < 0) return;
    struct record r = { op, flags, strlen(path), 0, offset, 0 };
    for (int i = 0; i < count; i++) r.data_bytes += data[i].iov_len;
    struct iovec head[2] = { { &r, sizeof r }, { (void *)path, r.path_bytes } };
    syscall(SYS_writev, log_fd, head, 2);
    for (int i = 0; i < count; i++)
        for (size_t done = 0; done < data[i].iov_len;) {
            ssize_t n = syscall(SYS_write, log_fd, (char *)data[i].iov_base + done, data[i].iov_len - done);
            if (n <= 0) abort();
            done += n;
        }
}

static int is_synced(int fd) { return (fcntl(fd, F_GETFL) & O_DSYNC) ? FLAG_SYNCED : 0; }

static ssize_t write_vector(int fd, const struct iovec *iov, int count, off_t offset, int positioned) {
    char path[PATH_MAX];
    if (!path_of(fd, path))
        return positioned ? syscall(SYS_pwritev, fd, iov, count, offset, 0) : syscall(SYS_writev, fd, iov, count);
    pthread_mutex_lock(&lock);
    int flags = is_synced(fd);
    ssize_t n = -1;
    if (triggered("PENSTOCK_SHIM_FULL", path)) errno = ENOSPC;
    else if (flags && triggered("PENSTOCK_SHIM_FAIL_SYNC", path)) errno = EIO;
    else {
        if (!positioned)
            offset = (fcntl(fd, F_GETFL) & O_APPEND) ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
        n = positioned ? syscall(SYS_pwritev, fd, iov, count, offset, 0) : syscall(SYS_writev, fd, iov, count);
        if (n >= 0) record(OP_WRITE, flags, path, offset, iov, count);
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return n;
}

ssize_t write(int fd, const void *data, size_t n) {
    struct iovec iov = { (void *)data, n };
    return write_vector(fd, &iov, 1, 0, 0);
}
ssize_t writev(int fd, const struct iovec *iov, int count) { return write_vector(fd, iov, count, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) {
    struct iovec iov = { (void *)data, n };
    return write_vector(fd, &iov, 1, offset, 1);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset) { return pwrite(fd, data, n, offset); }
ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset) {
    return write_vector(fd, iov, count, offset, 1);
}
ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t offset) {
    return write_vector(fd, iov, count, offset, 1);
}

static int sync_file(int fd, long call) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return syscall(call, fd);
    pthread_mutex_lock(&lock);
    int result = -1;
    if (triggered("PENSTOCK_SHIM_FAIL_SYNC", path)) errno = EIO;
    else if ((result = syscall(call, fd)) == 0) record(OP_SYNC, 0, path, 0, NULL, 0);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

int ftruncate(int fd, off_t length) {
    char path[PATH_MAX];
    if (!path_of(fd, path)) return syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, length);
    if (result == 0) record(OP_TRUNCATE, 0, path, length, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

static int open_file(int at, const char *name, int flags, mode_t mode) {
    if (!watched(name) || !(flags & (O_CREAT | O_TRUNC))) return syscall(SYS_openat, at, name, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat status;
    int existed = stat(name, &status) == 0;
    int fd = -1;
    if (!existed && triggered("PENSTOCK_SHIM_FULL", name)) errno = ENOSPC;
    else fd = syscall(SYS_openat, at, name, flags, mode);
    if (fd >= 0 && !existed) record(OP_CREATE, 0, name, 0, NULL, 0);
    else if (fd >= 0 && (flags & O_TRUNC)) record(OP_TRUNCATE, 0, name, 0, NULL, 0);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, int); va_end(a); }
int open(const char *name, int flags, ...) { MODE(flags) return open_file(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return open_file(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int at, const char *name, int flags, ...) { MODE(flags) return open_file(at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags) return open_file(at, name, flags | O_LARGEFILE, mode); }

static int change_name(int op, const char *name, const char *other, int result_of_call) {
    if (result_of_call == 0 && (watched(name) || (other && watched(other)))) {
        struct iovec data = { (void *)(other ? other : ""), other ? strlen(other) : 0 };
        record(op, 0, name, 0, &data, 1);
    }
    return result_of_call;
}

int rename(const char *from, const char *to) {
    pthread_mutex_lock(&lock);
    int result = change_name(OP_RENAME, from, to, REAL(rename)(from, to));
    pthread_mutex_unlock(&lock);
    return result;
}
int unlink(const char *name) {
    pthread_mutex_lock(&lock);
    int result = change_name(OP_UNLINK, name, NULL, REAL(unlink)(name));
    pthread_mutex_unlock(&lock);
    return result;
}
int mkdir(const char *name, mode_t mode) {
    pthread_mutex_lock(&lock);
    int result = change_name(OP_MKDIR, name, NULL, REAL(mkdir)(name, mode));
    pthread_mutex_unlock(&lock);
    return result;
}
