/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accesses that cannot be made from Go: system calls through the 32-bit entry, io_uring, and a
 * descriptor that is replaced while it is read. Prints the secret if it got it, or "reached" if
 * there is no secret to get.
 *
 *	doors DOOR PID ADDRESS LENGTH
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int failed(const char *what)
{
	printf("failed: %s: %m\n", what);
	return 1;
}

static int open_file(const char *pid, const char *file)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, file);
	return open(path, O_RDONLY);
}

static int open_mem(const char *pid)
{
	return open_file(pid, "mem");
}

#ifdef __x86_64__
/* A kernel without the i386 table answers int 0x80 with a fault. */
static void no_int80(int signal)
{
	static const char said[] = "int 0x80: SIGSEGV";

	(void)signal;
	if (write(STDOUT_FILENO, said, sizeof(said) - 1) < 0)
		_exit(1);
	_exit(3);
}

static long int80(long nr, long a, long b, long c, long d, long e, long f)
{
	long result;

	signal(SIGSEGV, no_int80);
	asm volatile("push %%rbp\n\tmov %[f], %%rbp\n\tint $0x80\n\tpop %%rbp"
		     : "=a"(result)
		     : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "r"(f)
		     : "memory", "r8", "r9", "r10", "r11");
	signal(SIGSEGV, SIG_DFL);
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

/* Makes a system call with an unmodified 64-bit number. */
static long enter_wide(unsigned long nr, const long *a)
{
#ifdef __x86_64__
	register long r10 asm("r10") = a[3], r8 asm("r8") = a[4], r9 asm("r9") = a[5];

	asm volatile("syscall"
		     : "+a"(nr)
		     : "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
		     : "memory", "rcx", "r11");
	return nr;
#else
	register unsigned long x8 asm("x8") = nr;
	register long x0 asm("x0") = a[0], x1 asm("x1") = a[1], x2 asm("x2") = a[2],
			 x3 asm("x3") = a[3], x4 asm("x4") = a[4], x5 asm("x5") = a[5];

	asm volatile("svc 0"
		     : "+r"(x0)
		     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
		     : "memory");
	return x0;
#endif
}

/* process_vm_readv with noise in the upper half of the number: the kernel uses the lower half. */
static int door_high(const char *pid, uint64_t address, size_t len)
{
	char buffer[64] = {};
	struct iovec local = {buffer, len}, remote = {(void *)address, len};
	long args[6] = {atoi(pid), (long)&local, 1, (long)&remote, 1, 0};

	if (enter_wide(__NR_process_vm_readv | 5ul << 32, args) != (long)len)
		return failed("process_vm_readv");
	puts(buffer);
	return 0;
}

static int door_uring(unsigned char flags, const char *pid, const char *file, uint64_t address,
		      size_t len)
{
	struct io_uring_params params = {};
	int ring = syscall(__NR_io_uring_setup, 1, &params), mem = open_file(pid, file);
	static char buffer[1024];
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
	if (cqe->res != (int)len && (cqe->res <= 0 || len < sizeof(buffer) - 1))
		return failed("read");
	buffer[strcspn(buffer, "\n")] = 0;
	puts(buffer);
	return 0;
}

/* Arguments of the calls below, at addresses that 32-bit entries can reach, where there are any. */
struct inspected {
	struct perf_event_attr attr;
	struct rlimit limit;
	uint64_t page;
	uint32_t page32;
	uint32_t range32[2];
	uint64_t head[2];
	int status;
	struct iovec range;
};

struct inspection {
	const char *entry;
	long nr, nr32;
	long args[6];
	long result;
};

static void *enter(void *arg)
{
	struct inspection *in = arg;
	long *a = in->args;

#ifdef __x86_64__
	if (!strcmp(in->entry, "int80")) {
		in->result = int80(in->nr32, a[0], a[1], a[2], a[3], a[4], a[5]);
		return NULL;
	}
	if (!strcmp(in->entry, "x32")) {
		in->result = enter_wide(in->nr | 0x40000000, a);
		return NULL;
	}
#endif
	if (!strcmp(in->entry, "high")) {
		in->result = enter_wide(in->nr | 5ul << 32, a);
		return NULL;
	}
	in->result = syscall(in->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (in->result < 0)
		in->result = -errno;
	return NULL;
}

/* Returns the resource with that name if exceeding it ends in a core dump; -1 otherwise. */
static int ends_in_core(const char *name)
{
	if (!strcmp(name, "cpu"))
		return RLIMIT_CPU;
	if (!strcmp(name, "fsize"))
		return RLIMIT_FSIZE;
	if (!strcmp(name, "stack"))
		return RLIMIT_STACK;
	return strcmp(name, "rttime") ? -1 : RLIMIT_RTTIME;
}

/* ENTRY-CALL: makes a call on another process that moves no memory, through the given entry. */
static int door_inspect(const char *door, const char *target, uint64_t address)
{
	struct inspected *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
#ifdef MAP_32BIT
				     MAP_32BIT |
#endif
					     MAP_PRIVATE | MAP_ANONYMOUS,
				     -1, 0);
	const char *call = strchr(door, '-') + 1;
	struct inspection in = {.entry = strndup(door, call - door - 1)};
	int pid = atoi(target), compat = !strcmp(in.entry, "int80") || !strcmp(in.entry, "x32");
	pthread_t thread;

	low->page = address & ~4095ul;
	low->page32 = low->range32[0] = low->page;
	low->range = (struct iovec){(void *)low->page, low->range32[1] = 4096};
	low->attr = (struct perf_event_attr){.type = PERF_TYPE_SOFTWARE,
					     .config = PERF_COUNT_SW_CPU_CLOCK,
					     .size = sizeof(low->attr)};
	if (!strcmp(call, "kcmp"))
		in = (struct inspection){in.entry, SYS_kcmp, 349, {getpid(), pid, 1}};
	else if (!strcmp(call, "pages"))
		in = (struct inspection){in.entry,
					 !strcmp(in.entry, "x32") ? 533 : SYS_move_pages,
					 317,
					 {pid, 1,
					  (long)(compat ? (void *)&low->page32 : &low->page), 0,
					  (long)&low->status}};
	else if (!strcmp(call, "advise"))
		in = (struct inspection){in.entry,
					 440,
					 440,
					 {syscall(SYS_pidfd_open, pid, 0),
					  (long)(compat ? (void *)low->range32 : &low->range), 1,
					  20 /* MADV_COLD */}};
	else if (!strcmp(call, "perf"))
		in = (struct inspection){
			in.entry, SYS_perf_event_open, 336, {(long)&low->attr, pid, -1, -1}};
	else if (!strcmp(call, "robust"))
		in = (struct inspection){in.entry,
					 !strcmp(in.entry, "x32") ? 531 : SYS_get_robust_list,
					 312,
					 {pid, (long)&low->head[0], (long)&low->head[1]}};
	else if (!strcmp(call, "kill"))
		in = (struct inspection){in.entry, SYS_kill, 37, {pid, SIGABRT}};
	else if (!strcmp(call, "tgkill"))
		in = (struct inspection){in.entry, SYS_tgkill, 270, {pid, pid, SIGSEGV}};
	else if (!strcmp(call, "pidfd"))
		in = (struct inspection){
			in.entry, 424, 424, {syscall(SYS_pidfd_open, pid, 0), SIGQUIT}};
	else if (ends_in_core(call) >= 0) {
		low->limit = (struct rlimit){1, 1};
		in = (struct inspection){
			in.entry, SYS_prlimit64, 340, {pid, ends_in_core(call), (long)&low->limit}};
	} else
		in = (struct inspection){
			in.entry, SYS_prlimit64, 340, {pid, RLIMIT_CORE, (long)&low->limit}};
	if (!strcmp(in.entry, "thread")) {
		pthread_create(&thread, NULL, enter, &in);
		pthread_join(thread, NULL);
	} else {
		enter(&in);
	}
	if (in.result == -ENOSYS) {
		puts("unsupported");
		return 3;
	}
	if (in.result < 0) {
		errno = -in.result;
		return failed(door);
	}
	puts("reached");
	return 0;
}

static int shown, harmless;

/* Repeatedly replaces the descriptor with a harmless procfs file and back. */
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

/* Keeps an address where procfs shows it: in an epoll and in a timer. Prints the epoll's descriptor
 * and the address.
 */
static int door_keep(void)
{
	static char kept;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &kept};
	struct sigevent notify = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGUSR1,
		.sigev_value.sival_ptr = &kept,
	};
	int epoll = epoll_create1(0);
	timer_t timer;
	char line[8];

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event))
		return failed("epoll_ctl");
	if (timer_create(CLOCK_MONOTONIC, &notify, &timer))
		return failed("timer_create");
	printf("%d %lx\n", epoll, (unsigned long)&kept);
	fflush(stdout);
	return read(STDIN_FILENO, line, sizeof(line)) < 0;
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
		return door_uring(0, argv[2], "mem", address, len);
	if (!strcmp(argv[1], "uring-worker"))
		return door_uring(IOSQE_ASYNC, argv[2], "mem", address, len);
	if (!strcmp(argv[1], "uring-stat"))
		return door_uring(0, argv[2], "stat", 0, 1023);
	if (!strcmp(argv[1], "uring-worker-stat"))
		return door_uring(IOSQE_ASYNC, argv[2], "stat", 0, 1023);
	if (!strcmp(argv[1], "keep"))
		return door_keep();
	if (!strcmp(argv[1], "race"))
		return door_race(argv[2], address, len);
	if (!strcmp(argv[1], "high-vm"))
		return door_high(argv[2], address, len);
#ifdef __x86_64__
	if (!strcmp(argv[1], "int80-vm"))
		return door_int80(0, argv[2], address, len);
	if (!strcmp(argv[1], "int80-mem"))
		return door_int80(1, argv[2], address, len);
#endif
	if (strchr(argv[1], '-'))
		return door_inspect(argv[1], argv[2], address);
	puts("unsupported");
	return 3;
}
