// SPDX-License-Identifier: Apache-2.0
//
// caller FILTER SOCKET MESSAGE: a container's process, as the listener's tests
// need one. It loads the filter, sends the notify descriptor with MESSAGE to
// SOCKET as a runtime would, and then carries out what it reads from stdin, a
// line each, answering each with "RESULT ERRNO":
//
//	n NR A0 … A5   a system call through the native entry
//	t NR A0 … A5   the same, in a thread of its own; answers when it is done
//	b NR A0 … A5   the same, answering at once and never telling the result
//	i NR A0 … A5   through int 0x80 (x86-64 only)
//	c NR A0 … A5   the same as n, in a child; the child then exits
//	fork           a child that only waits; the result is its pid
//	unshare        the same, in a pid namespace below; so are all later children
//	thread         a thread that only waits; the result is its tid
//	reap PID       kill a child and wait for it
//	listen NR      a filter and a listener of its own, which lets NR through
//	address        the result is the address of 64 bytes, filled with 'S'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char secret[64];

struct call {
	long nr;
	unsigned long a[6];
	long result;
	int error;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void native(struct call *c)
{
	errno = 0;
	c->result = syscall(c->nr, c->a[0], c->a[1], c->a[2], c->a[3], c->a[4], c->a[5]);
	c->error = c->result == -1 ? errno : 0;
}

#ifdef __x86_64__
static sigjmp_buf before_int80;

/* What a kernel without the i386 table answers int 0x80 with is a fault. */
static void no_int80(int signal)
{
	(void)signal;
	siglongjmp(before_int80, 1);
}
#endif

static void int80(struct call *c)
{
#ifdef __x86_64__
	long result;
	register unsigned long bp __asm__("r12") = c->a[5];

	if (sigsetjmp(before_int80, 1)) {
		signal(SIGSEGV, SIG_DFL);
		c->result = -1;
		c->error = ENOSYS;
		return;
	}
	signal(SIGSEGV, no_int80);
	__asm__ volatile("push %%rbp\n\tmov %%r12, %%rbp\n\tint $0x80\n\tpop %%rbp"
			 : "=a"(result)
			 : "a"(c->nr), "b"(c->a[0]), "c"(c->a[1]), "d"(c->a[2]), "S"(c->a[3]),
			   "D"(c->a[4]), "r"(bp)
			 : "memory", "cc", "r8", "r9", "r10", "r11");
	signal(SIGSEGV, SIG_DFL);
	result = (int)result;
	c->error = result < 0 && result > -4096 ? -result : 0;
	c->result = c->error ? -1 : result;
#else
	c->result = -1;
	c->error = ENOSYS;
#endif
}

static void *in_thread(void *c)
{
	native(c);
	return NULL;
}

static void *waiting(void *tid)
{
	*(volatile long *)tid = syscall(SYS_gettid);
	for (;;)
		pause();
	return NULL;
}

static void *permitting(void *notify)
{
	for (;;) {
		struct seccomp_notif asked = {0};
		struct seccomp_notif_resp answer = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

		if (ioctl((long)notify, SECCOMP_IOCTL_NOTIF_RECV, &asked))
			continue;
		answer.id = asked.id;
		ioctl((long)notify, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
	return NULL;
}

/* Of filters that notify, the kernel asks the listener of the last one. */
static void listen_for(struct call *c)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, c->nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = 4, .filter = program};
	pthread_t thread;

	c->result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			    &prog);
	c->error = c->result == -1 ? errno : 0;
	if (!c->error)
		pthread_create(&thread, NULL, permitting, (void *)c->result);
}

static void load(const char *filter, const char *path, const char *message)
{
	static struct sock_filter program[4096];
	struct sock_fprog prog = {.filter = program};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (char *)message, .iov_len = strlen(message)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int fd = open(filter, O_RDONLY | O_CLOEXEC), s, notify;
	ssize_t n = read(fd, program, sizeof(program));

	if (n <= 0)
		fail(filter);
	close(fd);
	prog.len = n / sizeof(*program);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (connect(s, (struct sockaddr *)&address, sizeof(address)))
		fail("connect");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail("no_new_privs");
	notify = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			 &prog);
	if (notify < 0)
		fail("seccomp");
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &notify, sizeof(int));
	if (sendmsg(s, &msg, 0) != (ssize_t)iov.iov_len)
		fail("sendmsg");
	close(s);
	close(notify);
}

int main(int argc, char **argv)
{
	static char line[512];

	if (argc != 4)
		return 2;
	memset(secret, 'S', sizeof(secret));
	setvbuf(stdout, NULL, _IOLBF, 0);
	load(argv[1], argv[2], argv[3]);
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		struct call *c = calloc(1, sizeof(*c));
		pthread_t thread;
		char how[16] = "";

		sscanf(line, "%15s", how);
		sscanf(line, "%*s %li %lu %lu %lu %lu %lu %lu", &c->nr, &c->a[0], &c->a[1],
		       &c->a[2], &c->a[3], &c->a[4], &c->a[5]);
		if (!strcmp(how, "n")) {
			native(c);
		} else if (!strcmp(how, "i")) {
			int80(c);
		} else if (!strcmp(how, "t")) {
			pthread_create(&thread, NULL, in_thread, c);
			pthread_join(thread, NULL);
		} else if (!strcmp(how, "b")) {
			pthread_create(&thread, NULL, in_thread, c);
			printf("0 0\n");
			continue; // c is the thread's
		} else if (!strcmp(how, "c")) {
			int fds[2];

			if (pipe(fds))
				fail("pipe");
			if (!fork()) {
				native(c);
				if (write(fds[1], c, sizeof(*c)) < 0)
					_exit(1);
				_exit(0);
			}
			close(fds[1]);
			if (read(fds[0], c, sizeof(*c)) != sizeof(*c))
				c->result = -2;
			close(fds[0]);
			wait(NULL);
		} else if (!strcmp(how, "fork") || !strcmp(how, "unshare")) {
			int alive[2];
			char byte;

			if (!strcmp(how, "unshare") && unshare(CLONE_NEWPID))
				fail("unshare");
			if (pipe(alive))
				fail("pipe");
			c->result = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
			if (!c->result) {
				prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
				if (write(alive[1], "", 1) != 1)
					_exit(1);
				for (;;)
					pause();
			}
			if (read(alive[0], &byte, 1) != 1)
				fail("fork");
			close(alive[0]);
			close(alive[1]);
		} else if (!strcmp(how, "thread")) {
			volatile long *tid = calloc(1, sizeof(*tid));

			pthread_create(&thread, NULL, waiting, (void *)tid);
			while (!*tid)
				;
			c->result = *tid;
		} else if (!strcmp(how, "reap")) {
			kill(c->nr, SIGKILL);
			c->result = waitpid(c->nr, NULL, 0);
		} else if (!strcmp(how, "listen")) {
			listen_for(c);
		} else if (!strcmp(how, "address")) {
			c->result = (long)secret;
		} else {
			fail(line);
		}
		printf("%ld %d\n", c->result, c->error);
		free(c);
	}
	return 0;
}
