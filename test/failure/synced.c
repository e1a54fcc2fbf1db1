// Preloaded into a server: keeps a copy of what its fsync and fdatasync calls have made durable, so that a test can rebuild what a power
// cut would leave at the least. Files by inode and time of birth, directories as lists of entries. Not here: rebuilding (power-cut.ts).
//   SYNCED_ROOT    only what lies below it is kept
//   SYNCED_SHADOW  where the copies go
//   SYNCED_IGNORE  syncs of paths of this form (a shell's pattern, in which * matches / too) do nothing: a disk that lies, or code that forgot
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_ulong copies;

// A name that is never used twice, unlike an inode's number.
static void identify(int fd, const char *name, char *id, size_t size, int *is_directory) {
  struct statx at;
  if (statx(fd, name, name[0] ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH, STATX_INO | STATX_BTIME | STATX_TYPE, &at) != 0) {
    id[0] = 0;
    return;
  }
  *is_directory = S_ISDIR(at.stx_mode);
  snprintf(id, size, "%llu-%lld-%u", (unsigned long long)at.stx_ino, (long long)at.stx_btime.tv_sec, at.stx_btime.tv_nsec);
}

static void die(const char *what) {
  perror(what);
  abort();
}

static void copy_file(int fd, int to) {
  char buffer[65536];
  for (off_t at = 0;;) {
    ssize_t got = pread(fd, buffer, sizeof buffer, at);
    if (got < 0) die("synced: read");
    if (got == 0) return;
    for (ssize_t done = 0; done < got;) {
      ssize_t wrote = write(to, buffer + done, got - done);
      if (wrote < 0) die("synced: write");
      done += wrote;
    }
    at += got;
  }
}

static void list_directory(const char *path, int to) {
  DIR *directory = opendir(path);
  if (directory == NULL) return;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char id[96];
    int is_directory = 0;
    identify(dirfd(directory), entry->d_name, id, sizeof id, &is_directory);
    if (id[0]) dprintf(to, "%c %s %s\n", is_directory ? 'd' : 'f', id, entry->d_name);
  }
  closedir(directory);
}

// The copy is of what is there when the sync begins, and counts when it has ended: what others write meanwhile is not promised by it.
static int synced(int fd, const char *function) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, function);
  const char *root = getenv("SYNCED_ROOT"), *shadow = getenv("SYNCED_SHADOW"), *ignore = getenv("SYNCED_IGNORE");
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (root == NULL || shadow == NULL || length < 0) return real(fd);
  path[length] = 0;
  if (strncmp(path, root, strlen(root)) != 0) return real(fd);
  if (ignore != NULL && ignore[0] && fnmatch(ignore, path, 0) == 0) return 0;
  char id[96] = "";
  int is_directory = 0;
  identify(fd, "", id, sizeof id, &is_directory);
  if (!id[0]) die("synced: statx");
  char part[PATH_MAX], final[PATH_MAX];
  snprintf(part, sizeof part, "%s/part-%lu", shadow, atomic_fetch_add(&copies, 1));
  snprintf(final, sizeof final, "%s/%s", shadow, id);
  int to = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (to < 0) die("synced: open");
  if (is_directory) list_directory(path, to);
  else {
    // The caller's descriptor may be for writing only.
    int from = open(link, O_RDONLY);
    if (from < 0) die("synced: open to read");
    copy_file(from, to);
    close(from);
  }
  close(to);
  int result = real(fd);
  int error = errno;
  if (result == 0 && rename(part, final) != 0) die("synced: rename");
  errno = error;
  return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }
