/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a process exits, io_uring cancels its requests that wait on another ring and then runs those
 * linked to them (IOSQE_IO_HARDLINK), when no signal reaches the process any more. Here a child
 * exits that way, with a linked read of a mem file into memory shared with its parent.
 *
 *	dying HOW FD ADDRESS LENGTH	HOW: exit, kill
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int failed(const char *what)
{
	printf("failed: %s: %m\n", what);
	return 1;
}

static int end(const char *how, int mem, uint64_t address, size_t len, char *into)
{
	struct io_uring_params params = {}, other = {};
	struct io_uring_sqe *sqes;
	unsigned int *tail, *array;
	char *rings;
	int ring;

	ring = syscall(SYS_io_uring_setup, 2, &params);
	if (ring < 0) {
		puts("unsupported");
		return 3;
	}
	rings = mmap(NULL,
		     params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe) + 4096,
		     PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	sqes = mmap(NULL, 2 * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		    IORING_OFF_SQES);
	if (rings == MAP_FAILED || sqes == MAP_FAILED)
		return failed("mmap");
	sqes[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_POLL_ADD,
		.flags = IOSQE_IO_HARDLINK,
		.fd = syscall(SYS_io_uring_setup, 1, &other),
		.poll32_events = POLLIN,
	};
	sqes[1] = (struct io_uring_sqe){
		.opcode = IORING_OP_READ,
		.fd = mem,
		.addr = (uintptr_t)into,
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
	if (!strcmp(how, "kill"))
		raise(SIGKILL);
	_exit(0);
}

int main(int argc, char **argv)
{
	uint64_t address;
	int status, mem;
	char *shared;
	size_t len;
	pid_t pid;

	if (argc != 5)
		return 2;
	address = strtoull(argv[3], NULL, 10);
	len = strtoul(argv[4], NULL, 10);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	mem = atoi(argv[2]);
	if (fcntl(mem, F_SETFL, O_NONBLOCK)) /* otherwise a worker thread does the read */
		return failed("fcntl");
	pid = fork();
	if (pid < 0)
		return failed("fork");
	if (!pid)
		exit(end(argv[1], mem, address, len, shared));
	if (waitpid(pid, &status, 0) != pid)
		return failed("waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status))
		return WEXITSTATUS(status);
	if (!*shared) {
		printf("failed: nothing came: %#x\n", status);
		return 1;
	}
	puts(shared);
	return 0;
}
