/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs drawn from the seed: the same bytes for the same arguments, everywhere.
 *
 *   mkdata text KIB SEED           words, as compressible as prose, to stdout
 *   mkdata table ROWS KEYS SEED    lines "KEY NUMBER WORD", keys drawn unevenly from KEYS
 *   mkdata keys KEYS SEED          lines "KEY WORD", one for each key, shuffled
 */
#include "driver.h"

static char words[4096][12];

static void make_words(uint64_t *seed)
{
	static const char consonants[] = "bcdfghjklmnprstvwz", vowels[] = "aeiou";

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t length = 2 + random_below(seed, 9);

		for (size_t k = 0; k < length; k++)
			words[i][k] = k % 2 ? vowels[random_below(seed, 5)]
					    : consonants[random_below(seed, 18)];
		words[i][length] = 0;
	}
}

/* Small numbers are drawn more often than large ones, as words are in prose. */
static uint64_t uneven(uint64_t *seed, uint64_t below)
{
	uint64_t a = random_below(seed, below), b = random_below(seed, below);
	uint64_t c = random_below(seed, below);

	a = a < b ? a : b;
	return a < c ? a : c;
}

static void text(int64_t bytes, uint64_t *seed)
{
	int64_t column = 0;

	while (bytes > 0) {
		const char *word = words[uneven(seed, 4096)];
		int64_t length = (int64_t)strlen(word) + 1;

		column += length;
		if (fputs(word, stdout) == EOF)
			fail("stdout");
		putchar(column > 72 ? '\n' : ' ');
		column = column > 72 ? 0 : column;
		bytes -= length;
	}
	putchar('\n');
}

static void table(int64_t rows, uint64_t keys, uint64_t *seed)
{
	for (int64_t i = 0; i < rows; i++)
		printf("k%07llu %llu %s\n", (unsigned long long)uneven(seed, keys),
		       (unsigned long long)random_below(seed, 1000000),
		       words[random_below(seed, 4096)]);
}

static void key_list(uint64_t keys, uint64_t *seed)
{
	uint32_t *order = calloc(keys, sizeof(*order));

	if (!order)
		fail("memory");
	for (uint64_t i = 0; i < keys; i++) {
		uint64_t k = random_below(seed, i + 1);

		order[i] = order[k];
		order[k] = (uint32_t)i;
	}
	for (uint64_t i = 0; i < keys; i++)
		printf("k%07u %s\n", order[i], words[random_below(seed, 4096)]);
	free(order);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	uint64_t seed = argc > 2 ? (uint64_t)number(argv[argc - 1], 0, INT64_MAX) : 0;

	make_words(&seed);
	if (!strcmp(what, "text") && argc == 4)
		text(number(argv[2], 1, 1 << 22) * 1024, &seed);
	else if (!strcmp(what, "table") && argc == 5)
		table(number(argv[2], 1, 100000000), (uint64_t)number(argv[3], 1, 9999999), &seed);
	else if (!strcmp(what, "keys") && argc == 4)
		key_list((uint64_t)number(argv[2], 1, 9999999), &seed);
	else
		usage("text KIB SEED | table ROWS KEYS SEED | keys KEYS SEED");
	finish();
	return 0;
}
