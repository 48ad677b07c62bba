// SPDX-License-Identifier: Apache-2.0
//
// micro times what an ordinary program does all day, from inside a container,
// and prints one line an operation: its name and nanoseconds a call. It is C
// and not Go so that what is timed is the kernel and not a runtime.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *pages;
static long page_size;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void open_close(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	close(fd);
}

static void open_file(long i)
{
	(void)i;
	open_close("/bin/busybox");
}

static void open_status(long i)
{
	(void)i;
	open_close("/proc/self/status");
}

static void getppid_call(long i)
{
	(void)i;
	syscall(SYS_getppid);
}

static void page_fault(long i)
{
	pages[i * page_size] = 1;
}

static void map_unmap(long i)
{
	void *p = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)i;
	if (p == MAP_FAILED)
		die("mmap");
	munmap(p, page_size);
}

static void fork_wait(long i)
{
	pid_t child = fork();

	(void)i;
	if (child < 0)
		die("fork");
	if (child == 0)
		_exit(0);
	if (waitpid(child, NULL, 0) != child)
		die("waitpid");
}

static long map_pages(long calls)
{
	pages = mmap(NULL, calls * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	if (pages == MAP_FAILED)
		die("mmap");
	// One fault a page is what is timed, so no page may be a huge one.
	madvise(pages, calls * page_size, MADV_NOHUGEPAGE);
	return calls * page_size;
}

static const struct {
	const char *name;
	void (*call)(long i);
	long calls;
} operations[] = {
	{"open+close file", open_file, 40000}, {"open+close /proc/self/status", open_status, 20000},
	{"getppid", getppid_call, 1000000},    {"page fault", page_fault, 20000},
	{"mmap+munmap", map_unmap, 40000},     {"fork+exit+wait", fork_wait, 500},
};

int main(void)
{
	page_size = sysconf(_SC_PAGESIZE);
	for (size_t op = 0; op < sizeof(operations) / sizeof(operations[0]); op++) {
		struct timespec from, to;
		long calls = operations[op].calls, mapped = 0;

		if (operations[op].call == page_fault)
			mapped = map_pages(calls);
		for (long i = 0; i < calls / 20 && !mapped; i++)
			operations[op].call(i);
		clock_gettime(CLOCK_MONOTONIC, &from);
		for (long i = 0; i < calls; i++)
			operations[op].call(i);
		clock_gettime(CLOCK_MONOTONIC, &to);
		if (mapped)
			munmap(pages, mapped);
		printf("%s\t%.1f\n", operations[op].name,
		       ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / calls);
	}
	return 0;
}
