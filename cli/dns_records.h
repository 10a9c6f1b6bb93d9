/* cli/dns_records.h - a DNS message as JSON for people, read with the C library's parser. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* {"ResponseCode": "RCodeSuccess", "Answers": [{Name, TTL, Class, Type, Body}]}; Answers only with success.  NULL: not
 * a DNS message. */
json_t *dns_records_json(const uint8_t *msg, size_t len);
