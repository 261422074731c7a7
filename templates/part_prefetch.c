% if prefetch > near then
${indent}_mm_prefetch((const char *)w + ${prefetch + offset}, _MM_HINT_T1);
% end
% if prefetch > 0 then
${indent}_mm_prefetch((const char *)w + ${near + offset}, _MM_HINT_T0);
% end
