#include "base/err.h"

const char *err_str(enum err e)
{
        switch (e) {
        case ERR_NONE:
                return "ok";
        case ERR_SHORT:
                return "too short";
        case ERR_FORMAT:
                return "malformed";
        case ERR_AUTH:
                return "not authentic";
        case ERR_REPLAY:
                return "replayed";
        case ERR_STATE:
                return "wrong state";
        case ERR_FULL:
                return "full";
        case ERR_NOT_FOUND:
                return "not found";
        case ERR_AGAIN:
                return "would block";
        case ERR_CLOSED:
                return "closed";
        case ERR_TIMEOUT:
                return "timed out";
        case ERR_PERMISSION:
                return "not permitted";
        case ERR_UNSUPPORTED:
                return "not supported";
        case ERR_IO:
                return "system error";
        }
        return "unknown error";
}
