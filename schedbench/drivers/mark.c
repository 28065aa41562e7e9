/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The harness' stamps. Each line goes out in one write and has left before the program goes on.
 *
 *   mark NAME [KEY=VALUE...]      prints `SCHEDBENCH NAME {"ns":...,"KEY":VALUE...}`; `ns` is the
 *                                 guest's monotonic clock; whole numbers stay numbers
 *   mark -run N OUT CMD [ARG...]  prints `begin`, runs CMD with its output in the file OUT, prints
 *                                 `end` with its exit code (128 + signal if killed), `began` and
 *                                 `ns` being the guest's clock right before and after CMD;
 *                                 exits 0 whatever CMD did
 */
#include "driver.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <termios.h>

static char line[8192];
static size_t used;

static void add(char c)
{
	if (used == sizeof(line) - 1) {
		errno = E2BIG;
		fail("mark");
	}
	line[used++] = c;
}

static void add_text(const char *text)
{
	while (*text)
		add(*text++);
}

static void add_json(const char *text)
{
	add('"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\') {
			add('\\');
			add((char)c);
		} else {
			add(c < 0x20 || c == 0x7f ? ' ' : (char)c);
		}
	}
	add('"');
}

static int is_whole(const char *text)
{
	size_t digits = 0;

	text += *text == '-';
	while (isdigit((unsigned char)text[digits]))
		digits++;
	return digits && digits < 19 && !text[digits] && (digits == 1 || text[0] != '0');
}

static void start(const char *name)
{
	used = 0;
	add_text("SCHEDBENCH ");
	add_text(name);
	add_text(" {");
}

static void add_field(const char *key, const char *value)
{
	if (line[used - 1] != '{')
		add(',');
	add_json(key);
	add(':');
	if (is_whole(value))
		add_text(value);
	else
		add_json(value);
}

static void add_number(const char *key, int64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	add_field(key, text);
}

static void out(void)
{
	add('}');
	add('\n');
	for (size_t done = 0; done < used;) {
		ssize_t n = write(STDOUT_FILENO, line + done, used - done);

		if (n < 0 && errno != EINTR)
			fail("write");
		done += n > 0 ? (size_t)n : 0;
	}
	if (isatty(STDOUT_FILENO))
		tcdrain(STDOUT_FILENO);
}

static int run(const char *file, char **argv)
{
	int status, fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pid_t pid;

	if (fd < 0 || null < 0)
		fail(file);
	pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		if (dup2(null, 0) < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
			fail("dup2");
		execvp(argv[0], argv);
		fail(argv[0]);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid");
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	int64_t began;

	if (argc >= 5 && !strcmp(argv[1], "-run")) {
		int code;

		start("begin");
		add_number("ns", now_ns());
		add_field("repeat", argv[2]);
		out();
		began = now_ns();
		code = run(argv[3], argv + 4);
		start("end");
		add_number("ns", now_ns());
		add_number("began", began);
		add_field("repeat", argv[2]);
		add_number("code", code);
		out();
		return 0;
	}
	if (argc < 2 || argv[1][0] == '-')
		usage("NAME [KEY=VALUE...] | -run N OUT CMD [ARG...]");
	start(argv[1]);
	add_number("ns", now_ns());
	for (int i = 2; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value)
			usage("NAME [KEY=VALUE...]");
		*value++ = 0;
		add_field(argv[i], value);
	}
	out();
	return 0;
}
