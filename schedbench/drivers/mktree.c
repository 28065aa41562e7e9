/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source tree to build, drawn from the seed, and what the built program will print.
 *
 *   mktree c|c++|stl FOLDER FILES FUNCTIONS SEED      (C; C++ with templates; with <vector> too)
 *
 * FOLDER gets FILES source files of about FUNCTIONS functions each (from half to one and a half
 * times as many), a header, main and a Makefile, all with names that the seed draws. Every function
 * stirs a number; the program stirs one through all of them and prints it. This program does the
 * same arithmetic and prints the same line, so a tree that was not compiled, or wrongly,
 * is found out.
 */
#include "driver.h"

#include <sys/stat.h>

struct function {
	uint64_t add, multiply, flip, cases[4];
	unsigned shift, turn, rounds;
};

static const char *suffix;
static int cxx;

static uint64_t turned(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

static struct function draw(uint64_t *seed)
{
	struct function f = {
		.add = next_random(seed),
		.multiply = next_random(seed) | 1,
		.flip = next_random(seed),
		.shift = 1 + (unsigned)random_below(seed, 60),
		.turn = 1 + (unsigned)random_below(seed, 60),
		.rounds = 2 + (unsigned)random_below(seed, 30),
	};

	for (int i = 0; i < 4; i++)
		f.cases[i] = next_random(seed);
	return f;
}

/* What the text that write_function writes computes. */
static uint64_t evaluate(const struct function *f, uint64_t x)
{
	uint64_t trail[32];

	for (unsigned i = 0; i < f->rounds; i++) {
		x = (x + f->add) * f->multiply;
		x ^= x >> f->shift;
		switch (x % 4) {
		case 0: x = turned(x, f->turn) ^ f->cases[0]; break;
		case 1: x += f->cases[1] >> (i % 8); break;
		case 2: x = x * 3 - f->cases[2]; break;
		default: x ^= f->cases[3] + i; break;
		}
		if (x & 1024)
			x ^= f->flip;
		trail[i] = x;
	}
	sort_int64((int64_t *)trail, f->rounds);
	for (unsigned i = 0; i < f->rounds; i++)
		x = turned(x, 7) + trail[i];
	return x;
}

#define U64(value) ((unsigned long long)(value))

static void write_function(FILE *file, const struct function *f, const char *name)
{
	if (cxx)
		fprintf(file,
			"std::uint64_t %s(std::uint64_t x)\n{\n"
			"\tTrail trail;\n",
			name);
	else
		fprintf(file, "uint64_t %s(uint64_t x)\n{\n\tint64_t trail[32];\n", name);
	fprintf(file,
		"\tfor (unsigned i = 0; i < %u; i++) {\n"
		"\t\tx = (x + 0x%llxULL) * 0x%llxULL;\n"
		"\t\tx ^= x >> %u;\n"
		"\t\tswitch (x %% 4) {\n"
		"\t\tcase 0: x = turned(x, %u) ^ 0x%llxULL; break;\n"
		"\t\tcase 1: x += 0x%llxULL >> (i %% 8); break;\n"
		"\t\tcase 2: x = x * 3 - 0x%llxULL; break;\n"
		"\t\tdefault: x ^= 0x%llxULL + i; break;\n"
		"\t\t}\n"
		"\t\tif (x & 1024)\n\t\t\tx ^= 0x%llxULL;\n"
		"\t\t%s;\n\t}\n",
		f->rounds, U64(f->add), U64(f->multiply), f->shift, f->turn, U64(f->cases[0]),
		U64(f->cases[1]), U64(f->cases[2]), U64(f->cases[3]), U64(f->flip),
		cxx ? "trail.push_back(static_cast<std::int64_t>(x))" : "trail[i] = (int64_t)x");
	if (cxx)
		fprintf(file, "\tsort(trail.begin(), trail.end());\n"
			      "\tfor (auto value : trail)\n"
			      "\t\tx = turned(x, 7) + static_cast<std::uint64_t>(value);\n"
			      "\treturn x;\n}\n\n");
	else
		fprintf(file,
			"\tsort(trail, %u);\n"
			"\tfor (unsigned i = 0; i < %u; i++)\n"
			"\t\tx = turned(x, 7) + (uint64_t)trail[i];\n"
			"\treturn x;\n}\n\n",
			f->rounds, f->rounds);
}

static const char c_header[] = "#include <stdint.h>\n"
			       "static inline uint64_t turned(uint64_t x, unsigned by)\n"
			       "{\n\treturn x << by | x >> (64 - by);\n}\n"
			       "static inline void sort(int64_t *values, unsigned count)\n{\n"
			       "\tfor (unsigned i = 1; i < count; i++)\n"
			       "\t\tfor (unsigned k = i; k && values[k] < values[k - 1]; k--) {\n"
			       "\t\t\tint64_t value = values[k];\n"
			       "\t\t\tvalues[k] = values[k - 1];\n"
			       "\t\t\tvalues[k - 1] = value;\n\t\t}\n}\n";
static const char cxx_header[] =
	"#include <cstdint>\n"
	"template <typename T> constexpr T turned(T x, unsigned by)\n"
	"{\n\treturn x << by | x >> (64 - by);\n}\n"
	"template <typename T, unsigned N> class Sortable {\n"
	"\tT values[N];\n\tunsigned count = 0;\n"
	"public:\n"
	"\tvoid push_back(T value) { values[count++] = value; }\n"
	"\tT *begin() { return values; }\n\tT *end() { return values + count; }\n};\n"
	"template <typename I> void sort(I first, I last)\n{\n"
	"\tfor (I i = first; i != last; ++i)\n"
	"\t\tfor (I k = i; k != first && *k < *(k - 1); --k) {\n"
	"\t\t\tauto value = *k;\n\t\t\t*k = *(k - 1);\n\t\t\t*(k - 1) = value;\n"
	"\t\t}\n}\n"
	"using Trail = Sortable<std::int64_t, 32>;\n";
static const char stl_header[] = "#include <algorithm>\n#include <cstdint>\n#include <vector>\n"
				 "template <typename T> constexpr T turned(T x, unsigned by)\n"
				 "{\n\treturn x << by | x >> (64 - by);\n}\n"
				 "using std::sort;\n"
				 "using Trail = std::vector<std::int64_t>;\n";

static FILE *open_in(const char *folder, const char *name, const char *ending)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s%s", folder, name, ending);
	file = fopen(path, "wx");
	if (!file)
		fail(path);
	return file;
}

static void close_file(FILE *file)
{
	if (ferror(file) || fclose(file))
		fail("write");
}

static void write_makefile(const char *folder, const uint64_t *names, int files)
{
	FILE *file = open_in(folder, "Makefile", "");

	fprintf(file, "OBJECTS = main.o");
	for (int i = 0; i < files; i++)
		fprintf(file, " u%llx.o", U64(names[i]));
	fprintf(file, "\nprogram: $(OBJECTS)\n\t$(CC) -o $@ $(OBJECTS) $(LIBS)\n"
		      "clean:\n\trm -f program $(OBJECTS)\n");
	for (int i = -1; i < files; i++) {
		char name[32] = "main";

		if (i >= 0)
			snprintf(name, sizeof(name), "u%llx", U64(names[i]));
		fprintf(file, "%s.o: %s%s common.h\n\t$(CC) $(FLAGS) -c -o $@ %s%s\n", name, name,
			suffix, name, suffix);
	}
	close_file(file);
}

int main(int argc, char **argv)
{
	uint64_t seed, x, names[1000];
	int files, functions;
	const char *folder;
	FILE *main_file, *file;

	if (argc != 6 || (strcmp(argv[1], "c") && strcmp(argv[1], "c++") && strcmp(argv[1], "stl")))
		usage("c|c++|stl FOLDER FILES FUNCTIONS SEED");
	cxx = strcmp(argv[1], "c") != 0;
	suffix = cxx ? ".cc" : ".c";
	folder = argv[2];
	files = (int)number(argv[3], 1, 1000);
	functions = (int)number(argv[4], 1, 1000);
	x = seed = (uint64_t)number(argv[5], 0, INT64_MAX);
	if (mkdir(folder, 0755))
		fail(folder);
	file = open_in(folder, "common.h", "");
	fputs(!cxx ? c_header : !strcmp(argv[1], "stl") ? stl_header : cxx_header, file);
	close_file(file);
	main_file = open_in(folder, "main", suffix);
	fprintf(main_file, "#include \"common.h\"\n#include <stdio.h>\n");
	for (int i = 0; i < files; i++)
		names[i] = next_random(&seed) >> 24;
	for (int i = 0; i < files; i++) {
		int count = functions / 2 + (int)random_below(&seed, (uint64_t)functions + 1);
		char name[32];

		snprintf(name, sizeof(name), "u%llx", U64(names[i]));
		file = open_in(folder, name, suffix);
		fprintf(file, "#include \"common.h\"\n\n");
		for (int k = 0; k < (count ? count : 1); k++) {
			struct function f = draw(&seed);

			snprintf(name, sizeof(name), "f%llx_%d", U64(names[i]), k);
			write_function(file, &f, name);
			fprintf(main_file, "uint64_t %s(uint64_t x);\n", name);
			x = evaluate(&f, x);
		}
		names[i] |= (uint64_t)(count ? count : 1) << 48;
		close_file(file);
	}
	fprintf(main_file, "int main(void)\n{\n\tuint64_t x = %sULL;\n", argv[5]);
	for (int i = 0; i < files; i++)
		for (int k = 0; k < (int)(names[i] >> 48); k++)
			fprintf(main_file, "\tx = f%llx_%d(x);\n",
				U64(names[i] & 0xffffffffffffULL), k);
	fprintf(main_file, "\tprintf(\"%%016llx\\n\", (unsigned long long)x);\n\treturn 0;\n}\n");
	close_file(main_file);
	for (int i = 0; i < files; i++)
		names[i] &= 0xffffffffffffULL;
	write_makefile(folder, names, files);
	printf("%016llx\n", U64(x));
	finish();
	return 0;
}
