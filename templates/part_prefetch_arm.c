% if prefetch > near then
${indent}__builtin_prefetch(w + ${prefetch + offset}, 0, 2);
% end
% if prefetch > 0 then
${indent}__builtin_prefetch(w + ${near + offset}, 0, 3);
% end
