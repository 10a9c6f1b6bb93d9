/* base/unset.h - variables that may start as they are.
 *
 * The build zeroes every local variable first, so that one that was forgotten holds nothing of value.  What is large,
 * on the packet's walk, and written before it is read, says UNSET.
 */
#pragma once

#if defined(__has_attribute) && __has_attribute(uninitialized)
#define UNSET __attribute__((uninitialized))
#else
#define UNSET
#endif
