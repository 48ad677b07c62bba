/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads another process's memory while reading this process's command line in procfs
 * blocks: one thread reads its own mem file where a FUSE file is mapped whose server does
 * not answer, and so holds the mmap lock, while another thread waits for that lock to
 * change the mappings. Then a second process, whose command line can be read, reads the
 * same memory.
 *
 *	heldup PID
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FOLDER "/tmp/held-up"

static int device, asked[2], begin[2];
static volatile pid_t changer;
static void *page;

static void say(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(2);
}

static void failed(const char *what)
{
	fprintf(stderr, "failed: %s: %m\n", what);
	exit(1);
}

static void answer(uint64_t request, int error, void *data, size_t len)
{
	struct fuse_out_header header = {
		.len = sizeof(header) + len, .error = error, .unique = request};
	struct iovec parts[] = {{&header, sizeof(header)}, {data, len}};

	if (writev(device, parts, 2) < 0)
		_exit(2);
}

static struct fuse_attr attributes(uint64_t inode)
{
	return (struct fuse_attr){.ino = inode,
				  .nlink = 1,
				  .size = inode == 1 ? 0 : 4096,
				  .blksize = 4096,
				  .mode = inode == 1 ? S_IFDIR | 0755 : S_IFREG | 0644};
}

/* Serves a directory with a file, and never answers a read of the file. */
static void serve(void)
{
	static char buffer[1 << 20];
	struct fuse_in_header *request = (void *)buffer;

	while (read(device, buffer, sizeof(buffer)) > 0 || errno == EINTR) {
		struct fuse_init_out start = {.major = 7, .minor = 31, .max_write = 4096};
		struct fuse_entry_out entry = {.nodeid = 2,
					       .entry_valid = 1000,
					       .attr_valid = 1000,
					       .attr = attributes(2)};
		struct fuse_attr_out stat = {.attr_valid = 1000,
					     .attr = attributes(request->nodeid)};
		struct fuse_open_out file = {.fh = 1};

		switch (request->opcode) {
		case FUSE_INIT:
			answer(request->unique, 0, &start, sizeof(start));
			break;
		case FUSE_LOOKUP:
			answer(request->unique, 0, &entry, sizeof(entry));
			break;
		case FUSE_GETATTR:
			answer(request->unique, 0, &stat, sizeof(stat));
			break;
		case FUSE_OPEN:
			answer(request->unique, 0, &file, sizeof(file));
			break;
		case FUSE_READ:
			if (write(asked[1], "r", 1) != 1)
				_exit(2);
			break;
		case FUSE_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			answer(request->unique, -ENOSYS, NULL, 0);
		}
	}
	_exit(0);
}

static void *read_own(void *none)
{
	int mem = open("/proc/self/mem", O_RDONLY);
	char byte;

	if (read(begin[0], &byte, 1) != 1)
		_exit(2);
	return pread(mem, &byte, 1, (uintptr_t)page) == 1 ? none : NULL;
}

static void *change(void *none)
{
	char byte;

	changer = gettid();
	if (read(asked[0], &byte, 1) != 1)
		_exit(2);
	return mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ? none : NULL;
}

static void reach(const char *path, uint64_t address, const char *who)
{
	int mem = open(path, O_RDONLY);
	char byte;

	if (mem < 0 || pread(mem, &byte, 1, address) != 1)
		failed(path);
	say(who);
}

/* Waits until procfs shows that a thread of this process is in a system call. */
static void wait_for_call(pid_t thread, long call)
{
	char path[64], text[32] = {};

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", thread);
	do {
		int file = open(path, O_RDONLY);

		if (file < 0 || read(file, text, sizeof(text) - 1) < 0)
			failed(path);
		close(file);
	} while (atol(text) != call);
}

int main(int argc, char **argv)
{
	char mem[64], maps[64], options[64], byte;
	pthread_t threads[2];
	uint64_t address;
	int file, next[2];
	FILE *list;

	if (argc != 2)
		return 2;
	snprintf(mem, sizeof(mem), "/proc/%s/mem", argv[1]);
	snprintf(maps, sizeof(maps), "/proc/%s/maps", argv[1]);
	list = fopen(maps, "r");
	if (!list || fscanf(list, "%lx", &address) != 1)
		failed(maps);
	fclose(list);
	if (pipe(next) || pipe(asked) || pipe(begin))
		failed("pipe");
	if (!fork()) {
		prctl(PR_SET_NAME, "another");
		if (read(next[0], &byte, 1) != 1)
			_exit(2);
		reach(mem, address, "reached by another\n");
		for (;;)
			pause();
	}
	device = open("/dev/fuse", O_RDWR);
	if (device < 0)
		failed("/dev/fuse");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	mkdir("/tmp", 0755);
	if ((mkdir(FOLDER, 0755) && errno != EEXIST) || mount("fuse", FOLDER, "fuse", 0, options))
		failed("mount");
	if (!fork())
		serve();
	close(device);
	file = open(FOLDER "/file", O_RDONLY);
	if (file < 0)
		failed(FOLDER);
	if (pthread_create(&threads[0], NULL, read_own, NULL) ||
	    pthread_create(&threads[1], NULL, change, NULL))
		failed("pthread_create");
	while (!changer)
		;
	/* No page may have to be faulted in any more once the lock is held. */
	if (mlockall(MCL_CURRENT))
		failed("mlockall");
	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
	if (page == MAP_FAILED)
		failed("mmap");
	if (write(begin[1], "b", 1) != 1)
		failed("write");
	wait_for_call(changer, SYS_mmap);
	reach(mem, address, "held up\n");
	if (write(next[1], "n", 1) != 1)
		failed("write");
	for (;;)
		pause();
}
