#include "daemon/localapi/share.h"

struct lapi_slot *lapi_share_take(struct lapi_share *s, uid_t uid, uid_t own)
{
        struct lapi_slot *room = NULL;
        size_t users = 0, same = 0;
        for (size_t i = 0; i < LAPI_CONNECTIONS_MAX; i++) {
                struct lapi_slot *p = &s->slots[i];
                if (!p->taken) {
                        room = p;
                        continue;
                }
                users += !p->privileged;
                same += p->uid == uid;
        }
        bool privileged = uid == 0 || uid == own;
        if (room == NULL || (!privileged && (users >= LAPI_USERS_MAX || same >= LAPI_USER_MAX)))
                return NULL;
        *room = (struct lapi_slot){.taken = true, .privileged = privileged, .uid = uid};
        return room;
}

void lapi_share_give(struct lapi_slot *slot)
{
        if (slot != NULL)
                slot->taken = false;
}
